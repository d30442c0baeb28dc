"""What the driver's own library says of the machine's devices, before there is a program of ours to ask."""
import ctypes

LIBRARY = "libcuda.so.1"
COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
OURS = (9, 0)


def has_our_device():
    """Whether a device has compute capability 9.0."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return False

    def value(function, *arguments):
        number = ctypes.c_int()
        return number.value if function(ctypes.byref(number), *arguments) == 0 else 0

    def capability(device):
        return tuple(value(driver.cuDeviceGetAttribute, attribute, device) for attribute in COMPUTE_CAPABILITY)

    if driver.cuInit(0) != 0:
        return False
    count = value(driver.cuDeviceGetCount)
    return any(capability(value(driver.cuDeviceGet, ordinal)) == OURS for ordinal in range(count))
