"""Loading models without transformers' own progress bars and load reports: ours are the ones that people see."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

from tqdm import tqdm
from transformers.utils import logging

__all__ = ["quiet_loading"]


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence them within the context. transformers has no switch for the bars that it draws with tqdm itself."""
    verbosity, draw = logging.get_verbosity(), tqdm.__init__
    logging.set_verbosity_error()
    tqdm.__init__ = partialmethod(draw, disable=True)
    try:
        yield
    finally:
        tqdm.__init__ = draw
        logging.set_verbosity(verbosity)
