"""What the provider remembers: rounds, uploads, accepted releases and the log, in one SQLite file.

Here: durable state and its transactions; several processes may share the file (the upload service, Flower's
ServerApp). Not here: decisions (``provider_server.intake``), weights (files under ``artefacts/``).
"""

from provider_server.registry.database import Database
from provider_server.registry.releases import ReleaseRecord, Status
from provider_server.registry.rounds import RoundRecord
from provider_server.registry.sightings import Sighting
from provider_server.registry.store import Registry
from provider_server.registry.uploads import UploadRecord

__all__ = ["Database", "Registry", "ReleaseRecord", "RoundRecord", "Sighting", "Status", "UploadRecord"]
