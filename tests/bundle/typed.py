"""Read a job as Databricks' own typed models do, and write it again: JSON on stdin, JSON on stdout.

Runs in the environment of `make check-deploy`, which has the package databricks-bundles and nothing of JUDE.
"""

import json
import sys

from databricks.bundles.jobs import Job

json.dump(Job.from_dict(json.load(sys.stdin)).as_dict(), sys.stdout)
