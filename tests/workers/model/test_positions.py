"""How many positions models have, and which of them read packed rows.

That these compute the same for packed sentences is shown for each family in test_families.
"""

import pytest
import torch
from transformers import AutoConfig, AutoModelForTokenClassification

from tests.workers.model.test_encoder import SIZES
from workers.model.positions import first_position, num_positions, reads_packed_rows

T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("family", "changes", "expected"),
    [
        ("bert", {}, 40),
        ("xlm-roberta", {}, 38),
        ("roberta", {"pad_token_id": 3}, 36),
        ("mpnet", {}, 38),
        ("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}, None),
        ("t5", T5, None),
    ],
)
def test_positions_that_can_be_used(family, changes, expected):
    sizes = SIZES if family in ("bert", "xlm-roberta", "roberta", "mpnet") else {"vocab_size": 60}
    config = AutoConfig.for_model(family, **sizes | changes)
    model = AutoModelForTokenClassification.from_config(config).eval()
    assert num_positions(model) == expected
    if expected is not None:
        ids = torch.full((1, expected), 5)
        model(input_ids=ids)
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, expected + 1), 5))


@pytest.mark.parametrize(
    ("family", "changes", "expected"),
    [
        ("bert", SIZES, (True, 0)),
        ("bert", SIZES | {"attn_implementation": "eager"}, (False, 0)),
        ("xlm-roberta", SIZES, (True, 2)),
        ("t5", T5 | {"vocab_size": 60}, (True, None)),
        ("mpnet", SIZES, (False, 2)),
        ("modernbert", SIZES | {"sep_token_id": 2, "cls_token_id": 3}, (False, 0)),
    ],
)
def test_who_reads_packed_rows_and_counts_from_where(family, changes, expected):
    config = AutoConfig.for_model(family, **changes)
    model = AutoModelForTokenClassification.from_config(config)
    assert (reads_packed_rows(model), first_position(model)) == expected
