"""Compile all Triton kernels for GPUs that need not be there, and describe the result as JSON.

    python -m tests.workers.kernels.compile_triton ARCHITECTURE ...

A program of its own, because a process either interprets kernels or compiles them. Architectures
are numbers like 90.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from workers.kernels import triton_masks, triton_step
from workers.kernels.triton_launch import OPTIONS

TYPES = {
    "rows": "*i64",
    "chunks": "*i32",
    "squares": "*fp64",
    "coefficients": "*fp32",
    "norm": "*fp32",
    "grad_scale": "*fp32",
    "found_inf": "*fp32",
    "groups": "*i64",
    "counts": "*i64",
    "num_nan": "*i64",
    "ties": "*i64",
    "shares": "*i64",
    "thresholds": "*i32",
    "num_chunks": "i32",
    "chunks_per_program": "i32",
    "num_rows": "i32",
    "num_squares": "i32",
}
"""Of the kernels' arguments, by name."""

KERNELS = {
    "add_squares": (triton_step.add_squares, {}),
    "prepare": (triton_step.prepare, {}),
    "adamw": (triton_step.adamw, {"found_inf": None, "ANY_ROUNDED": False}),
    "adamw, found_inf": (triton_step.adamw, {"ANY_ROUNDED": False}),
    "adamw, rounded": (triton_step.adamw, {"found_inf": None, "ANY_ROUNDED": True}),
    "count_digits": (triton_masks.count_digits, {"DIGIT": 0, "SHADOW": False}),
    "count_digits, shadow": (triton_masks.count_digits, {"DIGIT": 3, "SHADOW": True}),
    "count_ties": (triton_masks.count_ties, {"SHADOW": True}),
    "share_ties": (triton_masks.share_ties, {}),
    "write_masks": (triton_masks.write_masks, {"SHADOW": False}),
    "write_masks, shadow": (triton_masks.write_masks, {"SHADOW": True}),
}
"""All kernels that are launched, in the variants that differ most, with what is constant there."""


def describe(name: str, architecture: int) -> dict[str, int]:
    """What the machine code of one kernel has and does."""
    function, constants = KERNELS[name]
    names = function.arg_names
    source = ASTSource(
        fn=function,
        signature={
            argument: "constexpr" if argument in constants else TYPES[argument]
            for argument in names
        },
        constexprs={(names.index(argument),): value for argument, value in constants.items()},
        attrs={  # as torch allocates
            (index,): [["tt.divisibility", 16]]
            for index, argument in enumerate(names)
            if argument not in constants and TYPES[argument].startswith("*")
        },
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=OPTIONS)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        code = run_tool("nvdisasm", "-c", file.name)
        usage = run_tool("cuobjdump", "-res-usage", file.name)
    assembly = compiled.asm["ptx"]
    return {
        # A condition may have become a jump in machine code.
        "on_condition_of_128_bits": len(
            re.findall(r"@!?%p\d+ (?:ld|st)\.global(?:\.\w+)*\.v4\.b32", assembly)
        ),
        "registers": int(re.findall(r"REG:(\d+)", usage)[0]),
        "stack_bytes": int(re.findall(r"STACK:(\d+)", usage)[0]),
        "spills": len(re.findall(r"\b(?:LDL|STL)\b", code)),
        "loads_of_128_bits": len(re.findall(r"\bLDG\.E\.128\b", code)),
        "stores_of_128_bits": len(re.findall(r"\bSTG\.E\.128\b", code)),
        # Bases of tensors are loaded in the same way, but not on a condition.
        "loads_of_64_bits": len(re.findall(r"@!?%p\d+ ld\.global(?:\.\w+)*\.v2\.b32", assembly)),
        "stores_of_64_bits": len(re.findall(r"@!?%p\d+ st\.global(?:\.\w+)*\.v2\.b32", assembly)),
        "fused_products": len(re.findall(r"\bfma\.", assembly)),
        "flushed_denormals": len(re.findall(r"\.ftz\b", assembly)),
        "approximations": len(re.findall(r"\b(?:div|sqrt|rcp|rsqrt)\.(?:approx|full)", assembly)),
    }


def run_tool(name: str, *arguments: str) -> str:
    """Run one of the programs that come with Triton."""
    path = Path(nvidia.__path__[0]) / "bin" / name
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(
        json.dumps(
            {
                number: {name: describe(name, int(number)) for name in KERNELS}
                for number in sys.argv[1:]
            }
        )
    )
