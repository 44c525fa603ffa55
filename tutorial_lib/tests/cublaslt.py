"""nvmath's own Matmul on a CPU: its Python code, over a stand-in for the cuBLASLt below it.

NumPy's arrays lie on a GPU, torch's tensors on the CPU, from where nvmath copies them.

The stand-in keeps what nvmath describes (layouts, descriptor, pointers) and computes from that
alone, as cuBLASLt does: it follows addresses with an order and a leading dimension, and knows
nothing of NumPy's strides. Operands must lie in arrays that are large enough for what is read.
"""

import contextlib
import ctypes
from types import SimpleNamespace
from unittest import mock

import numpy as np
from nvmath.linalg import advanced
from nvmath.linalg.advanced import matmulmod

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.layouts import HALF, matrix
from tutorial_lib.reference.refusals import cuBLASLtError

ROW, COL = matmulmod.cublaslt.Order.ROW, matmulmod.cublaslt.Order.COL


def pointed(address, dtype, shape, strides):
    """The array at an address, with strides in elements."""
    itemsize = np.dtype(dtype).itemsize
    strides = tuple(stride * itemsize for stride in strides)
    interface = {"version": 3, "data": (address, False), "typestr": np.dtype(dtype).str}
    interface |= {"shape": shape, "strides": strides}
    return np.asarray(SimpleNamespace(__array_interface__=interface)).view(dtype)


class CuBLASLt:
    """Objects by number, as the library hands them out; a plan and a product made of them."""

    def __init__(self):
        self.objects = {}

    def _new(self, **attributes):
        self.objects[len(self.objects) + 1] = SimpleNamespace(**attributes)
        return len(self.objects)

    def matmul_desc_create(self, compute_type, scale_type):
        return self._new(epilogue=None, transb=None, bias_data_type=None)

    def matrix_layout_create(self, dtype, *, rows, cols, ld):
        return self._new(dtype=dtype, rows=rows, cols=cols, ld=ld, order=COL, batch_count=1)

    def matmul_preference_create(self):
        return self._new()

    def get_version(self):
        return 130100

    def matmul_algo_get_heuristic(self, handle, desc, a, b, c, d, preference, limit, found, count):
        desc, a, b, c, d = (self.objects[i] for i in (desc, a, b, c, d))
        epilog = desc.epilogue
        transposed = desc.transb is not None
        k, n = (b.cols, b.rows) if transposed else (b.rows, b.cols)
        fits = (a.rows, a.cols, n) == (d.rows, k, d.cols)
        names = [matmulmod.typemaps.DATA_TYPE_TO_NAME[x.dtype] for x in (a, b, c, d)]
        mixed = [[half, half, "float32", "float32"] for half in HALF]
        supported = fits and desc.bias_data_type in (None, d.dtype)
        supported &= len(set(names)) == 1 or names in mixed
        columns = [d] if epilog in epilogs.COLUMN_MAJOR else []  # must be column-major
        columns += [a] if epilog == epilogs.MatmulEpilog.BGRADA else []
        columns += [b] if epilog == epilogs.MatmulEpilog.BGRADB else []  # the transposed b
        if not supported or any(x.order != COL for x in columns):
            raise cuBLASLtError("CUBLAS_STATUS_NOT_SUPPORTED (15)")
        ctypes.c_int32.from_address(count).value = min(limit, 2)

    def matmul(self, handle, desc, alpha, a, la, b, lb, beta, c, lc, d, ld, *rest):
        if c == 0:
            lc, c = ld, d  # not read
        for i in range(self.objects[ld].batch_count):
            abcd = [self._matrix(*x, i) for x in ((a, la), (b, lb), (c, lc), (d, ld))]
            self._product(i, self.objects[desc], alpha, beta, *abcd)

    def _product(self, i, desc, alpha, beta, a, b, c, d):
        scale = np.result_type(a.dtype, np.float32)
        alpha, beta = (pointed(x, scale, (), ())[()] for x in (alpha, beta))
        b = b if desc.transb is None else b.T
        (m, n), dtype, epilog = d.shape, d.dtype, desc.epilogue
        shapes = {"relu_aux": epilogs.mask_shape(m, n), "gelu_aux": epilogs.gelu_shape(m, n)}

        def extra(name):
            shape = shapes.get(name, (n if name == "bgradb" else m, 1))
            kind = np.dtype(np.uint8 if name == "relu_aux" else dtype)
            if name in shapes:  # the stride of masks is in bits
                size = 1 / 8 if name == "relu_aux" else kind.itemsize
                pointer = desc.epilogue_aux_pointer + i * int(desc.epilogue_aux_batch_stride * size)
            else:
                pointer = desc.bias_pointer + i * desc.bias_batch_stride * kind.itemsize
            return pointed(pointer, kind, shape, (1, shape[0]))

        names = epilogs.input_names(epilog) if epilog else ()
        order = "F" if d.strides[0] == d.itemsize else "C"
        a, b, c = (matrix(x, 0) for x in (a, b, c))
        call = epilogs.Call(a, b, {name: matrix(extra(name), 0) for name in names})
        call.written_as = d.dtype if d.dtype.name in HALF else None
        d[...] = epilogs.compute(call, c, alpha, beta, epilog, order)
        for name, x in call.outputs.items():
            extra(name)[...] = x.reshape(extra(name).shape)

    def _matrix(self, address, layout, i):
        layout = self.objects[layout]
        dtype = np.dtype(matmulmod.typemaps.DATA_TYPE_TO_NAME[layout.dtype])
        strides = (1, layout.ld) if layout.order == COL else (layout.ld, 1)
        offset = i and i * layout.strided_batch_offset * dtype.itemsize
        return pointed(address + offset, dtype, (layout.rows, layout.cols), strides)


def install(patch):
    """Put the stand-in under nvmath; NumPy arrays count as arrays of device 0."""
    library = CuBLASLt()
    for name in dir(library):
        if not name.startswith("_") and name != "objects":
            patch.setattr(matmulmod.cublaslt, name, getattr(library, name))
    for name in ("matrix_layout", "matmul_preference", "matmul_desc"):
        patch.setattr(matmulmod.cublaslt, f"{name}_destroy", lambda handle: None)
    for module, name in (
        (matmulmod.matmul_desc_ifc, "MatmulDescInterface"),
        (matmulmod.matrix_layout_ifc, "MatrixLayoutInterface"),
        (matmulmod.matmul_pref_ifc, "MatmulPreferenceInterface"),
    ):
        patch.setattr(module, name, library.objects.__getitem__)
    wrapper = matmulmod.tensor_wrapper
    patch.setattr(wrapper._TENSOR_TYPES["numpy"], "device_id", 0)
    wrapper.maybe_register_package("torch")
    torch_tensor = wrapper._TENSOR_TYPES["torch"]
    patch.setattr(torch_tensor, "to", lambda x, *args, **kwargs: torch_tensor(x.tensor.clone()))
    workspace = mock.MagicMock(raw_ptr=0, size=0)  # nothing is allocated, nothing given back
    workspace.allocate_perhaps.return_value = contextlib.nullcontext(workspace)
    patch.setattr(matmulmod, "Workspace", lambda *args, **kwargs: workspace)
    patch.setattr(matmulmod, "get_handle", lambda device: 1)
    patch.setattr(matmulmod._algorithmmod.Algorithm, "algorithm_id", 0)
    stream = SimpleNamespace(obj=None, ptr=0, ctx=contextlib.nullcontext())
    patch.setattr(matmulmod.utils, "get_or_create_stream", lambda *args: stream)
    patch.setattr(matmulmod.utils, "get_memory_limit_from_device_id", lambda *args: 1 << 30)
    call = contextlib.nullcontext((None, SimpleNamespace(data=None)))
    patch.setattr(matmulmod.utils, "cuda_call_ctx", lambda *args, **kwargs: call)
    for package in ("cuda", "torch"):
        patch.setitem(matmulmod.memory._MEMORY_MANAGER, package, lambda *args: None)

    def empty(cls, shape, dtype, device, stream, verify_strides, strides=None):
        if cls is torch_tensor:
            return cls.empty(shape, dtype=dtype, strides=strides)
        size = np.dtype(dtype).itemsize
        strides = strides and [size * stride for stride in strides]
        return cls(np.ndarray(tuple(shape), dtype, strides=strides))

    patch.setattr(matmulmod.utils, "create_empty_tensor", empty)
    return advanced
