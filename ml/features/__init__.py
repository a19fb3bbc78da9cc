"""The catalogue of features, the schema that names them, and the pipeline that computes them.

``FEATURE_CODE_VERSION`` is the SHA-256 of the source of the kernels and features, computed when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    FEATURE_CODE_VERSION: str

__all__ = ["FEATURE_CODE_VERSION"]


def __getattr__(name: str) -> Any:
    if name == "FEATURE_CODE_VERSION":
        from ml.features.version import feature_code_version

        return feature_code_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
