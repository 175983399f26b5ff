"""A weight is put together again to the bit, in the form that takes least room."""

import pytest
import torch

from workers.model.difference import difference, restored

WIDTH = 64


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def pruned(weight: torch.Tensor) -> torch.Tensor:
    """Nine tenths of it are 0."""
    is_kept = torch.arange(weight.numel()).reshape(weight.shape) % 10 == 0
    return torch.where(is_kept, weight, 0.0)


def some_rows(weight: torch.Tensor, by: float = 1.0) -> torch.Tensor:
    """Three rows are others."""
    changed = weight.clone()
    changed[[1, 5, 40]] += by
    return changed


def again(value: torch.Tensor, base: torch.Tensor | None) -> tuple[str, torch.Tensor, int]:
    """The form, what is restored from it, and the bytes that it takes."""
    form, parts = difference(value, base)
    shape = list(value.shape)
    size = sum(part.numel() * part.element_size() for part in parts.values())
    return form, restored(form, value.dtype, shape, parts, base), size


def bits(value: torch.Tensor) -> list[int]:
    return value.reshape(-1).view(torch.uint8).tolist()


BASE = random(200, WIDTH)


@pytest.mark.parametrize(
    ("form", "value", "base", "size"),
    [
        ("base", BASE.clone(), BASE, 0),
        ("whole", random(200, WIDTH) + 1, BASE, 200 * WIDTH * 4),
        ("whole", BASE, None, 200 * WIDTH * 4),
        ("whole", BASE, BASE[:100], 200 * WIDTH * 4),
        ("rows", some_rows(BASE), BASE, 3 * (4 + WIDTH * 4)),
        ("kept", pruned(BASE + 1), BASE, 200 * WIDTH // 8 + 200 * WIDTH // 10 * 4),
        ("kept", pruned(BASE), None, 200 * WIDTH // 8 + 200 * WIDTH // 10 * 4),
        ("whole", random(7), None, 28),
        ("whole", torch.tensor(3), None, 8),
        ("base", torch.arange(9), torch.arange(9), 0),
    ],
)
def test_the_smallest_form_is_chosen(form, value, base, size):
    found, value_again, takes = again(value, base)
    assert (found, takes) == (form, size)
    assert bits(value_again) == bits(value)


def test_of_a_pruned_matrix_only_rows_that_were_trained_are_kept():
    value = pruned(some_rows(BASE))
    form, value_again, size = again(value, BASE)
    in_rows = int(torch.count_nonzero(value[[1, 5, 40]]))
    assert (form, size) == ("kept_rows", 200 * WIDTH // 8 + 3 * 4 + in_rows * 4)
    assert bits(value_again) == bits(value)


@pytest.mark.parametrize("odd", [-0.0, float("nan"), float("inf"), 1e-45])
def test_floats_are_bits(odd):
    value = pruned(BASE)
    value[3, 3], value[4, 4] = odd, 0.0
    form, value_again, _ = again(value, None)
    assert form == "kept"
    assert bits(value_again) == bits(value)
    assert again(torch.full((2, 2), -0.0), torch.zeros(2, 2))[0] != "base"


def test_half_floats_are_kept_as_they_are():
    value = pruned(BASE).bfloat16()
    form, value_again, _ = again(value, BASE.bfloat16())
    assert form == "kept_rows"
    assert value_again.dtype is torch.bfloat16
    assert bits(value_again) == bits(value)


def test_the_base_is_left_alone():
    base = BASE.clone()
    again(pruned(some_rows(base)), base)
    again(some_rows(base), base)
    assert torch.equal(base, BASE)


@pytest.mark.parametrize("block", [8, 64, 800])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_where_blocks_end_makes_no_difference(monkeypatch, block, dtype):
    """What is found block by block is what is found of the whole weight at once."""
    base = random(99, 33).to(dtype)
    values = (pruned(base), some_rows(base), some_rows(pruned(base)), pruned(base + 1), base)
    expected = [difference(value, base) for value in values]
    forms = ["kept_rows", "rows", "kept_rows", "kept", "base"]
    assert [form for form, _ in expected] == forms
    monkeypatch.setattr("workers.model.difference.BLOCK", block)
    for value, (form, parts) in zip(values, expected, strict=True):
        found, others = difference(value, base)
        assert (found, others.keys()) == (form, parts.keys())
        for name, part in parts.items():
            assert (part.dtype, part.shape) == (others[name].dtype, others[name].shape)
            assert not len(part) or bits(part) == bits(others[name])
