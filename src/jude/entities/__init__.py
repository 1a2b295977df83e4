"""What a deployment calls an entity: its topic, its key, the columns that make its text.

`conf/entities/*.yml` come in, an `Entities` goes out. A new entity type is a new file, never new code.
"""

from jude.entities.entity import Entity, TextField
from jude.entities.load import Entities, load_entities

__all__ = ["Entities", "Entity", "TextField", "load_entities"]
