"""Figures of F1."""

from orchestrator.report.figures.quality import draw_f1_by_language


def test_dense_trials_belong_to_dense_and_pruned_embeddings(material):
    table = draw_f1_by_language(material).table
    dense = table[table["target_sparsity"] == 0]
    assert len(dense) == 4
    assert dense["embeddings"].isna().all()
    assert set(table.loc[table["target_sparsity"] > 0, "embeddings"]) == {"dense", "pruned"}
