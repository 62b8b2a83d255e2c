"""What a run on a CPU says that its tensors take."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("torch")]

MEGABYTE = 1 << 20
NOISE = MEGABYTE  # what else the process allocates meanwhile


def test_what_lasts_and_the_most_that_steps_have_added() -> None:
    import torch

    from trainer.run.tensor_memory import TensorMemory

    model = torch.nn.Linear(1024, 2048, bias=False)  # 8 MiB
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    memory = TensorMemory()
    memory.see()
    assert memory.peak is None  # no step has begun

    def a_step(added_bytes: int) -> int:
        memory.begin_step(model, optimizer)
        blocks = [torch.ones(MEGABYTE // 4) for _ in range(added_bytes // MEGABYTE)]
        memory.see()
        del blocks
        memory.see()
        assert memory.peak is not None
        return memory.peak

    assert a_step(40 * MEGABYTE) == pytest.approx(48 * MEGABYTE, abs=NOISE)
    assert a_step(10 * MEGABYTE) == pytest.approx(48 * MEGABYTE, abs=NOISE)
    model(torch.ones(1024)).sum().backward()
    optimizer.step()  # which has a state from now on
    optimizer.zero_grad(set_to_none=True)
    assert a_step(60 * MEGABYTE) == pytest.approx(76 * MEGABYTE, abs=NOISE)


def test_free_blocks_that_the_process_keeps_are_no_tensors() -> None:
    import torch

    from trainer.run.tensor_memory import allocated_bytes

    before = allocated_bytes()
    assert before > 0
    blocks = [torch.ones(MEGABYTE // 16) for _ in range(256)]
    pins = [torch.ones(64) for _ in range(8)] + blocks[::16]  # the heap cannot shrink
    assert allocated_bytes() - before == pytest.approx(64 * MEGABYTE, abs=NOISE)
    del blocks
    assert allocated_bytes() - before == pytest.approx(4 * MEGABYTE, abs=NOISE)
    del pins


def test_weights_that_share_a_storage_count_once(tmp_path: Path) -> None:
    import torch

    from trainer.run.tensor_memory import TensorMemory

    storage = torch.UntypedStorage.from_file(str(tmp_path / "mapped"), shared=True, nbytes=MEGABYTE)
    mapped = torch.empty(0, dtype=torch.float32).set_(storage)
    model = torch.nn.Module()
    for name, rows in (("first", mapped[:1000]), ("second", mapped[1000:]), ("tied", mapped[:10])):
        model.register_parameter(name, torch.nn.Parameter(rows))
    memory = TensorMemory()
    memory.begin_step(model, torch.optim.SGD(model.parameters()))
    memory.see()
    assert memory.peak == pytest.approx(MEGABYTE, abs=MEGABYTE // 4)


def test_a_quantised_weight_is_what_it_lies_in() -> None:
    """Values of rows and of columns at a byte, and their scales; not the 16 bits that it says."""
    import torch

    from trainer.kernels.float8 import Float8Weight
    from trainer.run.tensor_memory import TensorMemory

    model = torch.nn.Linear(1024, 2048, bias=False, dtype=torch.bfloat16)
    weight = Float8Weight.of(model.weight.detach())
    model.weight = torch.nn.Parameter(weight, requires_grad=False)
    memory = TensorMemory()
    memory.begin_step(model, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.0))
    memory.see()
    assert memory.peak is not None
    assert memory.peak == pytest.approx(4 * MEGABYTE + 4 * (1024 + 2048), abs=NOISE)
