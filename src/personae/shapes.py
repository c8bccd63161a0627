"""Annotations that say an array's dtype and axes: `Float32[Array, "N D"]`, in jaxtyping's notation.

For type checkers and in normal runs they are plain `Annotated` types. `make checked` puts jaxtyping's in their place
(tests/runtime_checks.py), and holds every call and every record to them.

`D` has one length wherever it stands in one call or in one record; `3` is 3; `...` is any axes, `*N` any that are the
same wherever they stand; `_` is any one axis. A space goes before what stands alone: `" N"`; `""` is a number.
`Float` is floating of any width, `Int` signed, `UInt` unsigned, `Num` any number, `Shaped` any dtype.
"""

from typing import Annotated as Bool
from typing import Annotated as Float
from typing import Annotated as Float32
from typing import Annotated as Float64
from typing import Annotated as Int
from typing import Annotated as Int64
from typing import Annotated as Num
from typing import Annotated as Shaped
from typing import Annotated as UInt
from typing import Annotated as UInt8

__all__ = ["Bool", "Float", "Float32", "Float64", "Int", "Int64", "Num", "Shaped", "UInt", "UInt8"]
