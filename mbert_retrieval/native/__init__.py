"""Compiled kernels, by instruction-set tier; in numpy where they are not to be had."""

from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from . import kernels
else:
    try:
        kernels = import_module(".kernels", __name__)
    except ModuleNotFoundError:
        import warnings

        from . import numpy_kernels as kernels

        warnings.warn(
            "mbert_retrieval is installed without its compiled kernels: numpy and torch do their "
            "work, more slowly",
            RuntimeWarning,
            stacklevel=2,
        )
    except ImportError as error:  # MBERT_TIER names a tier that this processor does not allow
        raise InputError(str(error)) from None

__all__ = ["kernels"]
