"""`conf/*.yml` come in, frozen settings go out; every mistake is one sentence with file, key and a way out.

Values and their meaning stand in `conf/base.yml` alone: the classes here give types and rules, no defaults.
"""

from jude.settings.layers import laid_over, load_settings
from jude.settings.models import (
    EncoderSettings,
    EntitiesSettings,
    KafkaSettings,
    LogSettings,
    MaintenanceSettings,
    MetricsSettings,
    OnlineSettings,
    OutputSettings,
    Settings,
    SourceSettings,
    SparkSettings,
    StreamSettings,
    TablesSettings,
)
from jude.settings.registry import RegistrySettings
from jude.settings.serving import ServerAddressSettings, ServingSettings, TlsSettings

__all__ = [
    "EncoderSettings",
    "EntitiesSettings",
    "KafkaSettings",
    "LogSettings",
    "MaintenanceSettings",
    "MetricsSettings",
    "OnlineSettings",
    "OutputSettings",
    "RegistrySettings",
    "ServerAddressSettings",
    "ServingSettings",
    "Settings",
    "SourceSettings",
    "SparkSettings",
    "StreamSettings",
    "TablesSettings",
    "TlsSettings",
    "laid_over",
    "load_settings",
]
