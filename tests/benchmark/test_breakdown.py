"""The seconds of operations, from profiles that were made up."""

from types import SimpleNamespace
from typing import Any

from alexnet_jax.benchmark import breakdown


def test_operations_are_summed_over_lines_and_steps() -> None:
    def event(name: str, took: float, **stats: Any) -> Any:
        return SimpleNamespace(name=name, duration_ns=took, stats=list(stats.items()))

    lines = [
        SimpleNamespace(events=[event("dot.1", 2e9, hlo_op="dot.1"), event("end: dot.1", 5e9, _ct=0)]),
        SimpleNamespace(events=[event("dot.1", 1e9, hlo_op="dot.1"), event("copy", 4e9, hlo_op="copy")]),
    ]
    profile = SimpleNamespace(planes=[SimpleNamespace(lines=lines)])
    assert breakdown.operation_seconds(profile).most_common() == [("copy", 4.0), ("dot.1", 3.0)]


def test_operations_of_a_gpu() -> None:
    # Kernels as an H100's profile names them: a convolution's two, and one that a command buffer runs.
    def event(name: str, took: float, operation: str) -> Any:
        return SimpleNamespace(name=name, duration_ns=took, stats=[("hlo_op", operation)])

    convolution = "cudnn-conv-bias-activation.25"
    lines = [
        SimpleNamespace(
            events=[
                event("void nhwcAddPaddingKernel<...>", 1e9, convolution),
                event("sm80_xmma_fprop_implicit_gemm_indexed_bf16bf16_bf16f32_f32", 3e9, convolution),
                event("loop_convert_slice_fusion_1", 2e9, "command_buffer_123"),
                event(
                    "void cutlass::Kernel2<cutlass_80_tensorop<128, 256> >(Params)", 1e9, "command_buffer_7"
                ),
            ]
        )
    ]
    took = breakdown.operation_seconds(SimpleNamespace(planes=[SimpleNamespace(lines=lines)]))
    assert took.most_common() == [
        (convolution, 4.0),
        ("loop_convert_slice_fusion_1", 2.0),
        ("cutlass::Kernel2", 1.0),
    ]
