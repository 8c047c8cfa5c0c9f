"""The provider: takes sealed experts, keeps them, plugs them into a frozen LLM, and answers questions."""

from pkgutil import extend_path

# Flower puts its bundle, which holds this file and ``server_app`` alone, before the installed package: the rest of
# the package is found where it is installed, so that the bundle that silos receive stays small enough to read.
__path__ = extend_path(__path__, __name__)
