"""What a mole of a substance weighs: laboratories give cholesterol in mg/dl or in mmol/l, depending on the country."""

import re
from decimal import Decimal

from llamdex_fl.schema import Feature

__all__ = ["grams_a_mole"]

#: By what a feature's name or description calls the substance, grams in a mole.
_GRAMS = {
    "cholesterol": Decimal("386.65"),
    "triglycerides?": Decimal("885.4"),
    "glucose": Decimal("180.16"),
    "(?:blood )?sugar": Decimal("180.16"),
    "creatinine": Decimal("113.12"),
}


def grams_a_mole(feature: Feature) -> Decimal | None:
    """Grams in a mole of what a feature measures, None where that is no substance that is known here."""
    named = f"{feature.name.replace('_', ' ')} {feature.description}".lower()
    return next((grams for name, grams in _GRAMS.items() if re.search(rf"\b{name}\b", named)), None)
