"""The namespace and the device of arrays of another library, and the way from and to NumPy."""

from functools import cached_property

import numpy as np

# Numbers of X handled at once, on a CPU, where they should stay in cache, and on other devices, which need much work at
# once.
CPU_NUMBERS = 1 << 17
DEVICE_NUMBERS = 1 << 25

# Rows of a block, at least.
LEAST_ROWS = 16


class Namespace:
    """Where arrays are.

    Parameters
    ----------
    xp : module
        With the functions of the array API standard.
    device : object
        One of its devices.
    """

    def __init__(self, xp, device):
        self.xp, self.device = xp, device

    @cached_property
    def real(self):
        """The dtype of sums: float64 where the device has it, else float32."""
        dtypes = self.xp.__array_namespace_info__().dtypes(kind="real floating", device=self.device)
        return dtypes.get("float64", dtypes["float32"])

    @cached_property
    def _indexing(self):
        """The dtype of row numbers."""
        return self.xp.__array_namespace_info__().default_dtypes(device=self.device)["indexing"]

    @property
    def has_double(self):
        """Whether the device has float64."""
        return self.real == self.xp.float64

    @property
    def dtypes(self):
        """The dtypes of X that are kept, the first of which any other becomes."""
        return [self.xp.float64, self.xp.float32] if self.has_double else [self.xp.float32]

    @property
    def is_cpu(self):
        """Whether the device is the processor."""
        return "cpu" in str(self.device).lower()

    def block_rows(self, n_columns):
        """Return the rows of so many columns that are handled at once."""
        return max(LEAST_ROWS, (CPU_NUMBERS if self.is_cpu else DEVICE_NUMBERS) // max(n_columns, 1))

    def numpy_dtype(self, dtype):
        """Return NumPy's name of a dtype of X."""
        return np.dtype(np.float32 if dtype == self.xp.float32 else np.float64)

    def own_dtype(self, dtype):
        """Return the dtype that NumPy's ``dtype`` has here, float32 where there is no float64."""
        return self.xp.float32 if dtype == np.float32 else self.real

    def asarray(self, values, dtype=None):
        """Return numbers in NumPy as a new array on the device, by default in the dtype of sums."""
        dtype = self.real if dtype is None else dtype
        return self.xp.asarray(np.array(values, dtype=self.numpy_dtype(dtype)), device=self.device)

    def indices(self, order):
        """Return row numbers as an array on the device."""
        return self.xp.asarray(np.array(order, dtype=np.int64), dtype=self._indexing, device=self.device)

    def holds(self, array):
        """Whether an array is one of this namespace and on this device."""
        is_own = isinstance(array, type(self.xp.empty(0, device=self.device)))
        return is_own and array.device == self.device

    def moved(self, array):
        """Return an array of any library in this namespace and on this device."""
        array = without_gradient(array)
        if self.holds(array):
            return array
        values = to_numpy(array)
        return self.asarray(values, self.own_dtype(values.dtype))


def without_gradient(array):
    """Return an array whose operations PyTorch does not record, sharing memory; any other as it is."""
    return array.detach() if getattr(array, "requires_grad", False) else array


def to_numpy(array):
    """Return an array of any library in NumPy, from its device."""
    if isinstance(array, np.ndarray):
        return array
    array = without_gradient(array)
    if hasattr(array, "resolve_conj"):  # PyTorch
        return array.cpu().numpy()
    if hasattr(array, "get") and hasattr(array, "__cuda_array_interface__"):  # CuPy
        return array.get()
    if hasattr(array, "to_device") and hasattr(array, "__array_namespace__"):
        array = array.to_device(array.__array_namespace__().__array_namespace_info__().default_device())
    return np.asarray(array)
