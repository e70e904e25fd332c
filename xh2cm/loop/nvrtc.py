"""Programs for NVIDIA's GPUs: compiled at run time, kept, loaded and launched."""

from __future__ import annotations

import ctypes
import importlib
import logging
from typing import TYPE_CHECKING, Any

import torch

from xh2cm.loop.cache import Unbuilt, kept

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Loaded", "compiled", "load"]

log = logging.getLogger(__name__)

KERNELS = "walk_forward", "walk_backward"

OPTIONS = ("-std=c++17", "-default-device", "-diag-suppress=177")


def bindings(name: str) -> ModuleType:
    """NVIDIA's own Python bindings, which come with torch for CUDA or as the extra ``gpu``."""
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except (ImportError, RuntimeError) as error:
        raise Unbuilt(f"cuda-bindings cannot be imported ({error}); pip install 'xh2cm[gpu]' has it") from error


def ask(call: Any, *arguments: Any) -> Any:
    """Call one of NVIDIA's functions and give what it answers."""
    try:
        status, *answer = call(*arguments)
    except RuntimeError as error:  # the library itself is not there
        raise Unbuilt(f"{call.__name__}: {error}") from error
    if int(status):
        raise Unbuilt(f"{call.__name__} says {status!s}")
    return answer[0] if answer else None


def compiled(source: str, architecture: str) -> bytes:
    """Compile CUDA C++, unless that was done before.

    Parameters
    ----------
    source : str
    architecture : str
        Such as ``"sm_90"``.

    Returns
    -------
    bytes
        What a driver loads.

    Raises
    ------
    Unbuilt
        If there is no NVRTC, or it refuses.
    """
    nvrtc = bindings("nvrtc")

    def make() -> bytes:
        options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={architecture}")]
        program = ask(nvrtc.nvrtcCreateProgram, source.encode(), b"cuda.cu", 0, [], [])
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        said = b" " * ask(nvrtc.nvrtcGetProgramLogSize, program)
        ask(nvrtc.nvrtcGetProgramLog, program, said)
        if int(status):
            text = said.decode(errors="replace")
            log.info("NVRTC says: %s", text)
            raise Unbuilt(f"NVRTC failed: {next((x for x in text.splitlines() if 'error' in x), str(status))}")
        found: bytes = b" " * ask(nvrtc.nvrtcGetCUBINSize, program)
        ask(nvrtc.nvrtcGetCUBIN, program, found)
        return found

    version = str(nvrtc.nvrtcVersion())
    return kept("blocks", ".cubin", make, source, architecture, *OPTIONS, version).read_bytes()


class Loaded:
    """A program on its device; a `xh2cm.loop.cuda.Module`.

    Parameters
    ----------
    image : bytes
        From `compiled`.
    device : torch.device

    Raises
    ------
    Unbuilt
        If the driver refuses it.
    """

    def __init__(self, image: bytes, device: torch.device) -> None:
        self.driver, self.device = bindings("driver"), device
        with torch.cuda.device(device):
            self.module = ask(self.driver.cuModuleLoadData, image)
            shared = self.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
            self.shared = int(ask(self.driver.cuDeviceGetAttribute, shared, torch.cuda.current_device()))
            self.sizes = {name: self.number(f"{name}_shared") for name in KERNELS}
            self.functions = {name: self.function(name) for name in KERNELS}
        self.processors = torch.cuda.get_device_properties(device).multi_processor_count

    def number(self, name: str) -> int:
        """A constant of the program."""
        status, place, size = self.driver.cuModuleGetGlobal(self.module, name.encode())
        ask(lambda: (status,))
        found = ctypes.c_int64()
        ask(self.driver.cuMemcpyDtoH, ctypes.addressof(found), place, size)
        return found.value

    def function(self, name: str) -> Any:
        """A kernel, with as much shared memory as it needs."""
        found = ask(self.driver.cuModuleGetFunction, self.module, name.encode())
        if self.sizes[name] <= self.shared:
            limit = self.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            ask(self.driver.cuFuncSetAttribute, found, limit, self.sizes[name])
        return found

    def needs(self, kernel: str) -> int:
        """Bytes of shared memory that a block of a kernel takes."""
        return self.sizes[kernel]

    def launch(self, kernel: str, blocks: int, threads: int, arguments: ctypes.Array[ctypes.c_int64]) -> None:
        """Launch some blocks, in torch's stream."""
        place = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        with torch.cuda.device(self.device):
            grid, stream = (blocks, 1, 1, threads, 1, 1), torch.cuda.current_stream().cuda_stream
            shape = (*grid, self.sizes[kernel], stream)
            ask(self.driver.cuLaunchKernel, self.functions[kernel], *shape, ctypes.addressof(place), 0)


def load(source: str, device: torch.device) -> Loaded:
    """Compile a program for a device and bring it there.

    Raises
    ------
    Unbuilt
        If it cannot be compiled or loaded, or the GPU is not NVIDIA's.
    """
    if torch.version.hip:
        raise Unbuilt("the GPU is not NVIDIA's")
    major, minor = torch.cuda.get_device_capability(device)
    return Loaded(compiled(source, f"sm_{major}{minor}"), device)
