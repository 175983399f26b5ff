"""Every numeric table of an analysis again, by SQL over the raw files.

Once of synthetic results with holes of all sorts, and once of the real ones of `make paper-mini`.
"""

from itertools import combinations, permutations, product

import duckdb
import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis.analyze import analyze
from orchestrator.results.store import ResultStore
from orchestrator.spec.languages import LANGUAGES
from tests.benchmarks.analysis import make_results
from tests.golden_results import unpack

pytestmark = pytest.mark.slow  # it analyses whole results twice

CODES = ("de", "en", "ja", "my", "sw", "yo")
REAL_CODES = ("af", "en", "jv", "my", "sw", "yo")
LEVEL = ("regime", "target_sparsity", "embedding_sparsity")


def state_of(spec):
    """Failed and planned trials of all sorts: dense, sparse, a whole cell, multilingual."""
    place = (spec.language, spec.target_sparsity, spec.embedding_sparsity > 0)
    if (*place, spec.seed) in {("yo", 0.9, True, 1), ("multilingual", 0.5, False, 0)}:
        return "failed"
    if place == ("my", 0.9, False) or (*place, spec.seed) in {
        ("de", 0.0, False, 2),
        ("sw", 0.5, True, 0),
    }:
        return "planned"
    return "completed"


@pytest.fixture(scope="module", params=["synthetic", pytest.param("real", marks=pytest.mark.slow)])
def is_real(request):
    return request.param == "real"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, is_real):
    folder = tmp_path_factory.mktemp("results")
    if is_real:
        return unpack(folder)
    make_results(
        str(folder), CODES, sparsities=(0.5, 0.7, 0.9), num_sentences=40, state_of=state_of
    )
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    found = analyze(ResultStore(str(folder)))
    return {table.name: table.rows.to_pylist() for table in found}


@pytest.fixture(scope="module")
def sql(folder, is_real):
    """A connection with the raw tables, and `t`: a row a planned trial and language, with F1, delta
    and relative."""
    connection = duckdb.connect()
    for name in (
        *("trials", "scores", "robustness", "predictions", "sentences", "plans", "layers"),
        *(() if is_real else ("vocabulary",)),
    ):
        connection.execute(f"create view {name} as from read_parquet('{folder}/{name}/*.parquet')")
    if is_real:  # trials of a version that has no such table
        connection.execute("""
            create table vocabulary (trial_id text, regime text, language text,
                target_sparsity double, embedding_sparsity double, num_words bigint,
                num_subwords bigint, num_unknown bigint, num_pieces bigint, num_weights bigint,
                num_zeros bigint)
        """)
    codes = REAL_CODES if is_real else CODES
    facts = [
        (one.code, one.num_train, one.script, one.family)
        for one in LANGUAGES.values()
        if one.code in codes
    ]
    connection.execute(
        "create table languages (language text, num_train int, script text, family text)"
    )
    connection.executemany("insert into languages values (?, ?, ?, ?)", facts)
    connection.execute("""
        create view f1 as
        select trial_id, language, f1 from scores where split = 'test' and subset = 'all'
               and entity_type = 'micro'
    """)
    connection.execute("""
        create table t as
        select p.trial_id, r.dense_trial_id, p.regime, p.target_sparsity, p.embedding_sparsity,
               p.seed, l.language,
               f.f1, f.f1 - d.f1 as delta, (f.f1 - d.f1) / d.f1 as relative
        from plans p
        join languages l on p.regime = 'multilingual' or p.language = l.language
        left join trials r using (trial_id)
        left join f1 f on f.trial_id = p.trial_id and f.language = l.language
        left join f1 d on d.trial_id = r.dense_trial_id and d.language = l.language
    """)
    connection.execute("""
        create table cells as
        select regime, language, target_sparsity, embedding_sparsity, avg(f1) as f1_mean,
               stddev_samp(f1) as f1_std,
               count(f1) as num_seeds, avg(delta) as delta_dense_mean,
               stddev_samp(delta) as delta_dense_std,
               avg(relative) as relative_dense_mean, count(delta) as num_pairs,
               count(*) - count(f1) as num_holes
        from t group by all
    """)
    connection.execute("""
        create view published as
        select language, 'all' as grouping, 'all' as "group" from languages
        union all select language, 'script', script from languages
        union all select language, 'family', family from languages
        union all select language, 'tier', case when num_train <= 100 then 'up to 100'
            when num_train <= 1000 then 'up to 1,000' when num_train <= 10000 then 'up to 10,000'
            else 'over 10,000' end from languages
    """)
    connection.execute("""
        create view used as
        select p.regime, l.language, coalesce(
                   max(r.num_train_sentences) filter (p.regime = 'monolingual'),
                   least(any_value(num_train), max(r.corpus_max_train_sentences))
               ) as num_used
        from plans p join languages l on p.regime = 'multilingual' or p.language = l.language
        left join trials r using (trial_id) group by all
    """)
    connection.execute("""
        create view groupings as
        select regime, published.* from published, (select distinct regime from plans)
        union all select regime, language, 'tier_used', case when num_used <= 100 then 'up to 100'
            when num_used <= 1000 then 'up to 1,000' when num_used <= 10000 then 'up to 10,000'
            else 'over 10,000' end from used
    """)
    return connection


def query(sql, text):
    found = sql.execute(text)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def assert_same(rows, expected, key):
    """Equal keys, and equal values in all columns expected."""
    by_key = {tuple(row[name] for name in key): row for row in rows}
    assert len(by_key) == len(rows) == len(expected) > 0
    for row in expected:
        found = by_key[tuple(row[name] for name in key)]
        for name, value in row.items():
            where = (name, *(row[one] for one in key))
            assert found[name] == (
                pytest.approx(value, abs=1e-12) if isinstance(value, float) else value
            ), where


def test_quality(tables, sql, is_real):
    assert_same(tables["quality"], query(sql, "from cells"), (*LEVEL, "language"))
    assert is_real or sum(row["num_holes"] for row in tables["quality"]) == 1 + 6 + 3 + 1 + 1


GROUPS = """
    select c.regime, g.grouping, g."group", c.target_sparsity, c.embedding_sparsity,
           avg(c.f1_mean) as f1_mean,
           stddev_samp(c.f1_mean) as f1_std, count(c.f1_mean) as num_languages,
           avg(c.delta_dense_mean) as delta_dense_mean,
           stddev_samp(c.delta_dense_mean) as delta_dense_std,
           avg(c.relative_dense_mean) as relative_dense_mean,
           count(c.delta_dense_mean) as num_languages_compared,
           count(*) - count(c.f1_mean) as num_languages_missing,
           any_value(n.num_trials) as num_trials,
           any_value(n.num_trials_compared) as num_trials_compared,
           any_value(n.num_holes) as num_holes
    from cells c join groupings g using (regime, language)
    join (
        select regime, grouping, "group", target_sparsity, embedding_sparsity,
               count(distinct trial_id) filter (f1 is not null) as num_trials,
               count(distinct trial_id) filter (delta is not null) as num_trials_compared,
               count(distinct trial_id) filter (f1 is null) as num_holes
        from t join groupings using (regime, language) group by all
    ) n using (regime, grouping, "group", target_sparsity, embedding_sparsity)
    group by all
"""


def test_groups(tables, sql):
    expected = query(sql, GROUPS)
    assert_same(tables["groups"], expected, (*LEVEL, "grouping", "group"))


def test_worst(tables, sql):
    text = f"""
        with every as (
            select regime, target_sparsity, embedding_sparsity, 'language' as kind,
                   language as name, delta_dense_mean,
                   relative_dense_mean, 1::int as num_languages, num_pairs as num_trials from cells
            union all select regime, target_sparsity, embedding_sparsity, grouping, "group",
                   delta_dense_mean,
                   relative_dense_mean, num_languages_compared, num_trials_compared from ({GROUPS})
                   where grouping <> 'all'
        )
        select *, count(delta_dense_mean) over place as num_compared,
               count(*) over place - num_compared as num_missing
        from every where target_sparsity > 0
        window place as (partition by regime, target_sparsity, embedding_sparsity, kind)
    """
    key = (*LEVEL, "kind", "name")
    found = {tuple(row[name] for name in key) for row in tables["worst"]}
    expected = [row for row in query(sql, text) if tuple(row[name] for name in key) in found]
    assert_same(tables["worst"], expected, key)

    of_level = {}
    for row in tables["significance"]:
        of_level.setdefault(tuple(row[name] for name in LEVEL), []).append(row)
    for row in tables["worst"]:
        if row["kind"] == "language":
            pooled = pool(of_level[tuple(row[name] for name in LEVEL)])
            assert row["name"] == min(pooled, key=pooled.get)
            assert row["delta_pooled"] == pytest.approx(pooled[row["name"]], abs=1e-6)
            if row["delta_pooled_low"] is not None:
                assert row["delta_pooled_low"] < row["delta_pooled"] < row["delta_pooled_high"]


def pool(rows):
    """Changes by language, drawn to their mean as Morris (1983) does; the variance between
    languages by bisection."""
    as_they_are = {
        row["language"]: row["delta_mean"] for row in rows if row["delta_mean"] is not None
    }
    rows = [row for row in rows if row["std_error"] is not None]
    if len(rows) < 4:
        return as_they_are

    def weighted(between):
        weights = [1 / (row["std_error"] ** 2 + between) for row in rows]
        sums = sum(weight * row["delta_mean"] for weight, row in zip(weights, rows, strict=True))
        mean = sums / sum(weights)
        squares = [(row["delta_mean"] - mean) ** 2 for row in rows]
        return mean, sum(w * square for w, square in zip(weights, squares, strict=True))

    low, high = 0.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if weighted(middle)[1] > len(rows) - 1 else (low, middle)
    mean, _ = weighted(low)
    parts = {
        row["language"]: (len(rows) - 3)
        / (len(rows) - 1)
        * row["std_error"] ** 2
        / (row["std_error"] ** 2 + low)
        for row in rows
    }
    return as_they_are | {
        row["language"]: row["delta_mean"] - parts[row["language"]] * (row["delta_mean"] - mean)
        for row in rows
    }


def test_steps(tables, sql, is_real):
    """Masks change at begin, where that prunes, then every so many steps, and at the end."""
    text = """
        with v as (
            select regime, trial_id, t.language, target_sparsity, num_steps,
                   round_even(pruning_end * num_steps, 0) as end_step,
                   ceil((end_step - round_even(pruning_begin * num_steps, 0))
                        / pruning_update_every_steps)
                   + if(pruning_initial_sparsity > 0, 1, 0) as updates,
                   if(end_step is null, null, greatest(0, selected_step - end_step)) as recovery
            from t left join trials using (trial_id, regime, target_sparsity)
        ), one as (
            select distinct regime, grouping, "group", trial_id,
                   if(target_sparsity > 0, 'sparse', 'dense') as trials, num_steps, updates,
                   recovery
            from v join groupings using (regime, language)
            where grouping in ('all', 'tier', 'tier_used')
        )
        select regime, trials, grouping, "group", min(num_steps) as num_steps_min,
               avg(num_steps) as num_steps_mean, max(num_steps) as num_steps_max,
               min(updates)::int as num_updates_min, avg(updates) as num_updates_mean,
               max(updates)::int as num_updates_max, min(recovery)::int as num_recovery_steps_min,
               avg(recovery) as num_recovery_steps_mean,
               max(recovery)::int as num_recovery_steps_max, count(num_steps) as num_trials,
               count(*) - count(num_steps) as num_missing
        from one group by all
    """
    key = ("regime", "trials", "grouping", "group")
    assert_same(tables["steps"], query(sql, text), key)
    assert is_real or {row["num_missing"] for row in tables["steps"]} >= {0, 1}


@pytest.fixture(scope="module")
def judged(tables, sql):
    """A view `judged`: cells with the verdict that their intervals give."""
    names = ("low", "high", "equivalence_low", "equivalence_high")
    rows = [
        [row[name] for name in (*LEVEL, "language", "allows_for", *names)]
        for row in tables["significance"]
    ]
    sql.execute(f"""
        create table intervals (regime text, target_sparsity double, embedding_sparsity double,
            language text, allows_for text, {" double, ".join(names)} double)
    """)
    sql.executemany(f"insert into intervals values ({', '.join('?' * 9)})", rows)
    sql.execute("""
        create view judged as
        select *, case
            when delta_dense_mean is null then null
            when allows_for in ('sentences', 'nothing') then 'undecided'
            when greatest(abs(equivalence_low), abs(equivalence_high)) <= 0.01 then 'equivalent'
            when low > 0 then 'better' when high < 0 then 'worse' else 'undecided' end as verdict
        from cells join intervals using (regime, target_sparsity, embedding_sparsity, language)
    """)
    return sql


def test_verdicts(tables, judged):
    text = """
        select regime, target_sparsity, embedding_sparsity, language, verdict,
               0.01::double as margin from judged
    """
    assert_same(tables["significance"], query(judged, text), (*LEVEL, "language"))
    assert len({row["verdict"] for row in tables["significance"]}) >= 3


def test_tally(tables, judged):
    text = """
        select regime, target_sparsity, embedding_sparsity,
               count(*) filter (verdict = 'better') as num_better,
               count(*) filter (verdict = 'worse') as num_worse,
               count(*) filter (verdict = 'equivalent') as num_equivalent,
               count(*) filter (verdict = 'undecided') as num_undecided,
               count(*) filter (delta_dense_mean is null) as num_missing,
               count(delta_dense_mean) as num_languages
        from judged group by all
    """
    assert_same(tables["tally"], query(judged, text), LEVEL)


def test_tolerance(tables, judged, is_real):
    text = """
        with measured as (
            select *, if(embedding_sparsity > 0, 'pruned', 'dense') as embeddings,
                   verdict in ('worse', 'undecided') as is_over
            from judged
        ), limits as (
            select regime, language, embeddings,
                   min(target_sparsity) filter (is_over) as over_at,
                   min(target_sparsity) filter (verdict = 'worse') as worse_at,
                   min(target_sparsity) filter (verdict = 'undecided') as undecided_at,
                   count(verdict) as num_sparsities,
                   count(*) - count(verdict) as num_sparsities_missing,
                   sum(num_pairs)::int as num_trials
            from measured group by all
        )
        select l.* exclude (over_at),
               if(any_value(num_sparsities) > 0,
                  coalesce(max(target_sparsity) filter (not is_over), 0), null)
               as tolerated_sparsity,
               arg_max(delta_dense_mean, target_sparsity) filter (not is_over)
               as change_at_tolerated
        from limits l left join measured m
             on (m.regime, m.language, m.embeddings) = (l.regime, l.language, l.embeddings)
             and m.target_sparsity < coalesce(over_at, 1)
        group by all
    """
    assert_same(tables["tolerance"], query(judged, text), ("regime", "language", "embeddings"))
    assert is_real or {row["num_sparsities_missing"] for row in tables["tolerance"]} == {0, 1}


def test_disparity(tables, sql):
    text = """
        with sides as (
            select regime, target_sparsity, embedding_sparsity, language, tier, rank,
                   avg(t.f1) as sparse, avg(t.f1 - t.delta) as dense, count(*) as num
            from t join (
                select language, "group" as tier, case "group" when 'up to 100' then 1
                    when 'up to 1,000' then 2 when 'up to 10,000' then 3 else 4 end as rank
                from published where grouping = 'tier'
            ) using (language)
            where target_sparsity > 0 and t.delta is not null group by all
        ), ends as (
            select *, max(rank) over place as top, min(rank) over place as bottom
            from sides window place as (partition by regime, target_sparsity, embedding_sparsity)
        )
        select regime, target_sparsity, embedding_sparsity,
               arg_min(language, sparse) as worst_language, min(sparse) as worst_f1,
               arg_min(language, dense) as dense_worst_language, min(dense) as dense_worst_f1,
               min(sparse) - min(dense) as worst_f1_change,
               stddev_samp(sparse) as f1_std, stddev_samp(dense) as dense_f1_std,
               stddev_samp(sparse) - stddev_samp(dense) as f1_std_change,
               max(sparse) - min(sparse) as f1_range, max(dense) - min(dense) as dense_f1_range,
               max(sparse) - min(sparse) - (max(dense) - min(dense)) as f1_range_change,
               arg_max(tier, rank) as top_tier, arg_min(tier, rank) as bottom_tier,
               avg(sparse) filter (rank = top) - avg(sparse) filter (rank = bottom) as tier_gap,
               avg(dense) filter (rank = top) - avg(dense) filter (rank = bottom)
               as dense_tier_gap,
               tier_gap - dense_tier_gap as tier_gap_change,
               count(*) filter (rank = top) as num_top,
               count(*) filter (rank = bottom) as num_bottom,
               count(*) as num_languages
        from (from ends order by language) group by all
    """
    expected = query(sql, text)
    for row in expected:
        if row["worst_f1"] == 0:  # several are at 0, and SQL takes any of them
            del row["worst_language"]
    assert_same(tables["disparity"], expected, LEVEL)


EMBEDDINGS = """
    select p.regime, p.language, p.target_sparsity, p.embedding_sparsity,
           avg(p.f1) filter (d.f1 is not null) as f1_pruned_mean,
           avg(d.f1) filter (p.f1 is not null) as f1_dense_mean,
           avg(p.f1 - d.f1) as delta_embeddings_mean,
           stddev_samp(p.f1 - d.f1) as delta_embeddings_std,
           count(p.f1 - d.f1) as num_pairs, 3 - count(p.f1 - d.f1) as num_holes
    from t p join t d using (regime, language, target_sparsity, seed)
    where p.embedding_sparsity > 0 and d.embedding_sparsity = 0 group by all
"""


def test_embeddings(tables, sql):
    assert_same(tables["embeddings"], query(sql, EMBEDDINGS), (*LEVEL, "language"))
    overall = f"""
        select regime, target_sparsity, embedding_sparsity,
               avg(delta_embeddings_mean) as delta_embeddings_mean,
               stddev_samp(delta_embeddings_mean) as delta_embeddings_std,
               count(delta_embeddings_mean) as num_languages from ({EMBEDDINGS}) group by all
    """
    assert_same(tables["embeddings_overall"], query(sql, overall), LEVEL)


def test_robustness_by_type(tables, sql):
    text = """
        with clean as (
            select trial_id, language, entity_type, f1 from scores
            where split = 'test' and subset = 'all' and entity_type <> 'micro'
        ), drops as (
            select r.trial_id, r.language, perturbation, entity_type, any_value(c.f1) as clean,
                   avg(r.f1) as perturbed, any_value(c.f1) - avg(r.f1) as lost
            from robustness r join clean c using (trial_id, language, entity_type)
            where status = 'scored' and r.f1 is not null and c.f1 is not null group by all
        )
        select t.regime, t.language, t.target_sparsity, t.embedding_sparsity, o.perturbation,
               o.entity_type, avg(o.clean) as f1_clean_mean, avg(o.perturbed) as f1_perturbed_mean,
               avg(o.lost) as drop_mean, avg(o.perturbed - d.perturbed) as delta_dense_mean,
               avg(o.lost - d.lost) as delta_drop_mean, count(*) as num_seeds,
               count(d.lost) as num_pairs
        from t join drops o using (trial_id, language)
        left join drops d on (d.trial_id, d.language) = (t.dense_trial_id, t.language)
             and (d.perturbation, d.entity_type) = (o.perturbation, o.entity_type)
        group by all
    """
    rows = [row for row in tables["robustness_types"] if row["num_seeds"]]
    assert_same(rows, query(sql, text), (*LEVEL, "language", "perturbation", "entity_type"))


def test_layers(tables, sql, is_real):
    # The real results are of a version that stored no rows of embeddings that languages use.
    names = {row["name"] for row in tables["layer_sparsity"]}
    assert len(names) > 1
    assert ("word embeddings used" in names) == (not is_real)
    text = """
        with matrices as (
            select regime, language, target_sparsity, embedding_sparsity, name, num_weights,
                   num_zeros from layers
            union all
            select regime, language, target_sparsity, embedding_sparsity, 'word embeddings used',
                   num_weights, num_zeros from vocabulary
        )
        select regime, language, target_sparsity, embedding_sparsity, name,
               any_value(num_weights) as num_weights, avg(num_zeros / num_weights) as sparsity_mean,
               min(num_zeros / num_weights) as sparsity_min,
               max(num_zeros / num_weights) as sparsity_max,
               1 - max(num_zeros / num_weights) as density_min,
               sum((num_zeros = num_weights)::int)::int as num_collapsed, count(*) as num_trials,
               try_cast(nullif(regexp_extract(name, '^[^0-9]*[.]([0-9]+)[.]', 1), '') as int)
               as layer
        from matrices group by all
    """
    assert_same(tables["layer_sparsity"], query(sql, text), (*LEVEL, "language", "name"))


def test_budget(tables, sql):
    text = """
        with sizes as (
            select trial_id, overall_sparsity, ceil(4 * num_parameters * (1 - overall_sparsity)
                   + if(target_sparsity > 0, num_prunable / 8, 0)) as num_bytes,
                   (select sum(num_weights - num_zeros) from layers l
                    where l.trial_id = trials.trial_id and not contains(name, 'embed'))
                   as num_multiplications
            from trials
        )
        select regime, language, target_sparsity, embedding_sparsity, avg(f1) as f1_mean,
               avg(delta) as delta_dense_mean, avg(overall_sparsity) as overall_sparsity,
               avg(num_bytes) as num_bytes, avg(num_multiplications) as num_multiplications,
               count(f1) as num_seeds
        from t left join sizes using (trial_id) group by all
    """
    assert_same(tables["budget"], query(sql, text), (*LEVEL, "language"))


def test_numbers_across_languages(tables, sql):
    text = """
        with ranked as (
            select *, row_number() over (place order by f1) as rank,
                   count(*) over place as num
            from t where f1 is not null
            window place as (partition by regime, target_sparsity, embedding_sparsity)
        ), beside as (
            select distinct t.regime, t.target_sparsity, t.embedding_sparsity, t.language,
                   d.trial_id, d.f1 as dense
            from t join f1 d on (d.trial_id, d.language) = (t.dense_trial_id, t.language)
        ), chances as (
            select regime, target_sparsity, embedding_sparsity, language,
                   avg(if(f1 > dense, 1, if(f1 = dense, 0.5, 0))) as chance
            from t join beside using (regime, target_sparsity, embedding_sparsity, language)
            where f1 is not null group by all
        )
        select regime, target_sparsity, embedding_sparsity, 'iqm' as statistic, avg(f1) as value
        from ranked where rank > num // 4 and rank <= num - num // 4 group by all
        union all
        select regime, target_sparsity, embedding_sparsity, 'improvement', avg(chance)
        from chances group by all
    """
    rows = [row for row in tables["across_languages"] if row["value"] is not None]
    assert_same(rows, query(sql, text), (*LEVEL, "statistic"))
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]


def test_profiles(tables, sql):
    text = """
        select regime, target_sparsity, embedding_sparsity, step / 20 as threshold,
               avg((f1 > step / 20)::int) as value
        from t cross join range(20) steps(step) where f1 is not null group by all
    """
    rows = [row for row in tables["profiles"] if row["value"] is not None]
    assert_same(rows, query(sql, text), (*LEVEL, "threshold"))


ENTITIES = """
    with words as (
        select trial_id, set_id, sentence, unnest(['true', 'predicted']) as side,
               unnest([s.gold, p.predicted]) as tags, s.is_seen, s.copy = 1 as is_first
        from predictions p join (
            select *, row_number() over (partition by set_id, tokens order by sentence) as copy
            from sentences
        ) s using (set_id, sentence)
        where p.perturbation = 'none' and p.split = 'test'
    ), tagged as (
        select * exclude (tags), unnest(range(1, len(tags) + 1)) as word, unnest(tags) as tag
        from words
    ), begun as (
        select *, tag <> 'O' and (tag[1] = 'B' or coalesce(lag(tag) over w, 'O') = 'O'
                  or (lag(tag) over w)[3:] <> tag[3:]) as is_begin
        from tagged window w as (partition by trial_id, set_id, sentence, side order by word)
    ), numbered as (
        select *, sum(is_begin::int) over (
            partition by trial_id, set_id, sentence, side order by word) as number
        from begun
    )
    select trial_id, set_id, sentence, is_seen, is_first, side, tag[3:] as entity_type,
           min(word) as begins, max(word) as ends, arg_min(tag, word)[1] as prefix
    from numbered where tag <> 'O'
    group by trial_id, set_id, sentence, is_seen, is_first, side, number, tag[3:]
"""
"""Entities by the lenient rule, and the prefix of their first tag."""

KINDS = """
    select e.trial_id, e.set_id, e.side, e.is_seen, e.is_first, e.entity_type, case
        when bool_or((o.begins, o.ends, o.entity_type) = (e.begins, e.ends, e.entity_type))
        then 'correct' when bool_or((o.begins, o.ends) = (e.begins, e.ends)) then 'type'
        when bool_or(o.entity_type = e.entity_type) then 'boundary'
        when count(o.begins) > 0 then 'boundary_and_type'
        when e.side = 'true' then 'missed' else 'spurious' end as kind
    from strict e left join strict o
         on (o.trial_id, o.set_id, o.sentence) = (e.trial_id, e.set_id, e.sentence)
         and o.side <> e.side and o.begins <= e.ends and e.begins <= o.ends
    group by e.trial_id, e.set_id, e.sentence, e.side, e.is_seen, e.is_first, e.entity_type,
             e.begins, e.ends
    union all
    select trial_id, set_id, 'tags', is_seen, is_first, entity_type,
           if(prefix = 'I', 'ill_formed', 'well_formed')
    from entities where side = 'predicted'
"""


@pytest.fixture(scope="module")
def counted(sql):
    """A table `counted`: how many entities of each kind a trial and language has in each part."""
    sql.execute(f"create table entities as {ENTITIES}")
    sql.execute("create view strict as select * from entities where prefix = 'B'")
    sql.execute("""
        create table places as
        select distinct trial_id, set_id, language from predictions
        where perturbation = 'none' and split = 'test'
    """)
    sql.execute(f"create table kinds as {KINDS}")
    sql.execute(
        """
        create table counted as
        with parts as (
            select * from (values ('all'), ('seen'), ('unseen'), ('distinct')) s(subset),
                          (values ('micro'), ('PER'), ('ORG'), ('LOC')) e(part_type)
        ), sides as (
            select * from (values ('true', 'correct'), ('true', 'type'), ('true', 'boundary'),
                ('true', 'boundary_and_type'), ('true', 'missed'), ('predicted', 'correct'),
                ('predicted', 'type'), ('predicted', 'boundary'),
                ('predicted', 'boundary_and_type'), ('predicted', 'spurious'),
                ('tags', 'ill_formed'), ('tags', 'well_formed')) k(side, kind)
        )
        select places.trial_id, language, subset, part_type as entity_type, sides.side, sides.kind,
               count(k.trial_id) as num,
               sum(num) over (
                   partition by places.trial_id, language, subset, part_type, sides.side
               ) as total
        from places cross join parts cross join sides left join kinds k
             on (k.trial_id, k.set_id, k.side, k.kind)
                = (places.trial_id, places.set_id, sides.side, sides.kind)
             and (part_type = 'micro' or k.entity_type = part_type)
             and (subset = 'all' or (subset = 'seen' and k.is_seen)
                  or (subset = 'unseen' and not k.is_seen) or (subset = 'distinct' and k.is_first))
        group by places.trial_id, language, subset, part_type, sides.side, sides.kind
    """
    )
    return sql


def test_errors(tables, counted):
    """Entities again, by windows over tags in place of arrays."""
    text = """
        with v as (
            select t.regime, t.language, t.target_sparsity, t.embedding_sparsity, c.subset,
                   c.entity_type, c.side, c.kind, c.num, c.total,
                   c.num / nullif(c.total, 0) as share, share - d.num / nullif(d.total, 0) as delta
            from t join counted c using (trial_id, language)
            left join counted d on (d.trial_id, d.language) = (t.dense_trial_id, t.language)
                 and (d.subset, d.entity_type, d.side, d.kind)
                     = (c.subset, c.entity_type, c.side, c.kind)
            where c.kind <> 'well_formed' and (c.subset = 'all' or c.entity_type = 'micro')
        )
        select regime, language, target_sparsity, embedding_sparsity, subset, entity_type, side,
               kind, avg(num) as num_mean, avg(total) as total_mean, avg(share) as share_mean,
               stddev_samp(share) as share_std, avg(delta) as delta_dense_mean,
               count(*) as num_seeds, count(delta) as num_pairs
        from v group by all
    """
    rows = [row for row in tables["errors"] if row["num_seeds"]]
    place = (*LEVEL, "language", "subset", "entity_type", "side", "kind")
    assert_same(rows, query(counted, text), place)


def test_breakdown(tables, counted):
    text = """
        with parts as (
            select trial_id, language, subset, entity_type, f1, support, num_sentences
            from scores where split = 'test'
            union all
            select trial_id, language, subset, entity_type,
                   2 * max(num) filter (side = 'true' and kind = 'correct')
                   / nullif(sum(num) filter (side in ('true', 'predicted')), 0),
                   sum(num) filter (side = 'true')::int, any_value(num_sentences)
            from counted join places using (trial_id, language) join (
                select set_id, count(distinct tokens) as num_sentences from sentences group by all
            ) n using (set_id)
            where subset = 'distinct' group by all
        )
        select t.regime, t.language, t.target_sparsity, t.embedding_sparsity, p.subset,
               p.entity_type, avg(p.f1) as f1_mean, stddev_samp(p.f1) as f1_std,
               count(p.f1) as num_seeds, avg(p.f1 - d.f1) as delta_dense_mean,
               stddev_samp(p.f1 - d.f1) as delta_dense_std, count(p.f1 - d.f1) as num_pairs,
               max(p.support) as support, max(p.num_sentences) as num_sentences
        from t join parts p using (trial_id, language)
        left join parts d on (d.trial_id, d.language) = (t.dense_trial_id, t.language)
             and (d.subset, d.entity_type) = (p.subset, p.entity_type)
        group by all
    """
    rows = [row for row in tables["breakdown"] if row["support"] is not None]
    assert_same(rows, query(counted, text), (*LEVEL, "language", "subset", "entity_type"))


ROBUSTNESS = """
    with perturbed as (
        select trial_id, language, perturbation, avg(f1) as perturbed, count(f1) as draws,
               bool_or(status = 'not_applicable') as is_excused
        from robustness where entity_type = 'micro' group by all
    ), v as (
        select t.*, r.perturbation, r.perturbed, r.draws, t.f1 - r.perturbed as lost,
               r.perturbed - d.perturbed as gained,
               (t.f1 - r.perturbed) - (df.f1 - d.perturbed) as more
        from t join perturbed r using (trial_id, language)
        left join perturbed d on d.trial_id = t.dense_trial_id and d.language = t.language
             and d.perturbation = r.perturbation
        left join f1 df on (df.trial_id, df.language) = (t.dense_trial_id, t.language)
    )
    select regime, language, target_sparsity, embedding_sparsity, perturbation,
           avg(f1) filter (lost is not null) as f1_clean_mean,
           avg(perturbed) as f1_perturbed_mean,
           stddev_samp(perturbed) as f1_perturbed_std,
           avg(lost) as drop_mean, avg(lost / nullif(f1, 0)) as relative_drop_mean,
           avg(gained) as delta_dense_mean,
           avg(more) as delta_drop_mean, sum(draws)::int as num_draws, count(lost) as num_seeds,
           count(more) as num_pairs
    from v group by all
"""


def test_robustness(tables, sql, is_real):
    run = [row for row in tables["robustness"] if row["status"] != "missing"]
    assert_same(
        [row for row in run if is_real or not is_of_missing_cell(row)],
        query(sql, ROBUSTNESS),
        (*LEVEL, "language", "perturbation"),
    )
    # What no trial has a score of is there, too, without numbers.
    num_perturbations = len({row["perturbation"] for row in tables["robustness"]})
    assert len(tables["robustness"]) == num_perturbations * len(tables["quality"])
    missing = [row for row in tables["robustness"] if row["status"] == "missing"]
    excused = [row for row in tables["robustness"] if row["status"] == "not_applicable"]
    assert {row["f1_perturbed_mean"] for row in (*missing, *excused)} == {None}
    if is_real:
        assert {(row["language"], row["perturbation"]) for row in excused} == {
            ("my", "within_script")
        }
    else:
        assert {(row["language"], row["target_sparsity"], row["num_holes"]) for row in missing} == {
            ("my", 0.9, 3)
        }
        assert {row["reason"] for row in excused} == {"ja is alone", "my is alone"}


def is_of_missing_cell(row):
    return (row["regime"], row["language"], *(row[name] for name in LEVEL[1:])) == (
        "monolingual",
        "my",
        0.9,
        0.0,
    )


def test_robustness_overall(tables, sql):
    names = (
        "f1_clean_mean",
        "f1_perturbed_mean",
        "drop_mean",
        "relative_drop_mean",
        "delta_dense_mean",
    )
    means = ", ".join(f"avg({name}) as {name}" for name in (*names, "delta_drop_mean"))
    text = f"""
        select regime, target_sparsity, embedding_sparsity, perturbation, {means},
               count(drop_mean) as num_languages,
               count(delta_drop_mean) as num_languages_compared from ({ROBUSTNESS}) group by all
    """
    assert_same(tables["robustness_overall"], query(sql, text), (*LEVEL, "perturbation"))


MODES = """
    with pairs as (
        select t.*, s.sentence, s.set_id, s.support, len(s.predicted) as words,
               s.predicted::text as sparse,
               d.predicted::text as dense
        from t join predictions s on (s.trial_id, s.language) = (t.trial_id, t.language)
        join predictions d
             on (d.trial_id, d.set_id, d.sentence) = (t.dense_trial_id, s.set_id, s.sentence)
    ), votes as (
        select regime, language, target_sparsity, embedding_sparsity, set_id, sentence, support,
               words, side, sequence,
               count(*) as num, min(seed) as first
        from (unpivot pairs on sparse, dense into name side value sequence) group by all
    ), modes as (
        select *, count(*) filter (num = most) over place > 1 as is_tied
        from (
            select *, max(num) over (
                partition by regime, language, target_sparsity, embedding_sparsity, sentence, side
            ) as most, side = 'dense' and count(*) over (
                partition by regime, language, target_sparsity, embedding_sparsity, sentence, side
            ) > 1 as is_unstable from votes
        )
        window place as (partition by regime, language, target_sparsity, embedding_sparsity,
            sentence, side)
        qualify row_number() over (
            partition by regime, language, target_sparsity, embedding_sparsity, sentence, side
            order by num desc, first
        ) = 1
    )
    select regime, language, target_sparsity, embedding_sparsity, set_id, sentence,
           any_value(support) as entities,
           any_value(words) as words, count(distinct sequence) > 1 as is_pie,
           bool_or(is_tied) as is_tied, bool_or(is_unstable) as is_unstable
    from modes group by all
"""


def test_disagreement(tables, sql, is_real):
    text = f"""
        select regime, language, target_sparsity, embedding_sparsity,
               count(*) filter (is_pie) as num_pies,
               count(*) as num_sentences, avg(is_pie::int) as pie_share,
               count(*) filter (is_tied) as num_undecided
        from ({MODES}) group by all
    """
    measured = [row for row in tables["disagreement"] if row["num_pairs"]]
    expected = query(sql, text)
    assert_same(measured, expected, (*LEVEL, "language"))
    assert sum(row["num_undecided"] for row in expected) > 0
    missing = [row for row in tables["disagreement"] if not row["num_pairs"]]
    assert is_real or [
        (row["language"], row["target_sparsity"], row["num_pies"]) for row in missing
    ] == [("my", 0.9, None)]


def test_shares_on_which_trials_of_two_seeds_differ(tables, sql):
    """Each exchange of sparse and dense trials within seeds is counted anew."""
    text = """
        create or replace table sides as
        with pairs as (
            select t.regime, t.language, t.target_sparsity, t.embedding_sparsity, t.seed,
                   unnest([t.trial_id, t.dense_trial_id]) as trial_id,
                   unnest(['sparse', 'dense']) as side
            from t where target_sparsity > 0 and dense_trial_id is not null
        )
        select pairs.*, set_id, sentence, predicted::text as tags
        from pairs join predictions using (trial_id, language)
    """
    sql.execute(text)
    text = """
        select a.regime, a.language, a.target_sparsity, a.embedding_sparsity, a.seed as seed,
               b.seed as other, a.side as side, b.side as other_side,
               avg((a.tags <> b.tags)::int) as share
        from sides a join sides b using (
            regime, language, target_sparsity, embedding_sparsity, set_id, sentence)
        where a.seed < b.seed group by all
    """
    cells = {}
    for row in query(sql, text):
        place = tuple(row[name] for name in (*LEVEL, "language"))
        sides = ((row["seed"], row["side"]), (row["other"], row["other_side"]))
        cells.setdefault(place, {})[sides] = row["share"]
    measured = [row for row in tables["disagreement"] if row["num_pairs"]]
    assert any(row["num_pairs"] > 2 for row in measured)
    for row in measured:
        shares = cells.get(tuple(row[name] for name in (*LEVEL, "language")), {})
        seeds = sorted(
            {
                seed
                for seed, _ in (one for pair in shares for one in pair)
                if {"sparse", "dense"}
                == {side for pair in shares for at, side in pair if at == seed}
            }
        )
        if len(seeds) < 2:
            assert row["cross_share"] is row["dense_share"] is row["p"] is None
            continue
        found = [excess_after(shares, seeds, flips) for flips in product((0, 1), repeat=len(seeds))]
        names = ("dense_share", "sparse_share", "cross_share", "excess_share")
        assert [row[name] for name in names] == pytest.approx(found[0])
        is_as_large = [one[3] >= found[0][3] - 1e-12 for one in found]
        assert row["p"] == pytest.approx(np.mean(is_as_large))
        assert row["p_least"] == 2 / 2 ** len(seeds)


def excess_after(shares, seeds, flips):
    """Mean shares of pairs of dense trials, of sparse ones, of mixed ones, and what the mixed ones
    exceed, after sparse and dense trials of some seeds have changed places."""
    sides = ("dense", "sparse")
    kinds = {"dense": [], "sparse": [], "mixed": []}
    for (one, seed), (two, other) in combinations(enumerate(seeds), 2):
        for first, second in product((0, 1), repeat=2):
            labels = (sides[first ^ flips[one]], sides[second ^ flips[two]])
            kind = labels[0] if labels[0] == labels[1] else "mixed"
            kinds[kind].append(shares[(seed, sides[first]), (other, sides[second])])
    dense, sparse, mixed = (np.mean(kinds[kind]) for kind in ("dense", "sparse", "mixed"))
    return [dense, sparse, mixed, mixed - (dense + sparse) / 2]


def test_pies_profile(tables, sql):
    values = {
        "words": "words",
        "entities": "entities",
        "unseen_entities": "num_unseen_entities",
        "subwords_per_word": "num_subwords / words",
    }
    expected = []
    for name, value in values.items():
        text = f"""
            select regime, m.language, target_sparsity, embedding_sparsity, '{name}' as property,
                   avg({value}) filter (is_pie) as pies_mean,
                   avg({value}) filter (not is_pie) as others_mean,
                   pies_mean - others_mean as difference, count(*) filter (is_pie) as num_pies,
                   count(*) filter (not is_pie) as num_others,
                   avg({value}) filter (is_unstable) as unstable_mean,
                   pies_mean - unstable_mean as unstable_difference,
                   count(*) filter (is_unstable) as num_unstable
            from ({MODES}) m join sentences using (set_id, sentence) group by all
        """
        expected += query(sql, text)
    assert_same(tables["pies_profile"], expected, (*LEVEL, "language", "property"))


def test_changes_that_have_intervals(tables, sql, is_real):
    text = """
        select regime, language, target_sparsity, embedding_sparsity, avg(delta) as delta_mean,
               count(delta) as num_pairs, 3 - count(delta) as num_holes from t
               where target_sparsity > 0 group by all
    """
    assert_same(tables["significance"], query(sql, text), (*LEVEL, "language"))
    for row in tables["significance"]:
        assert row["low"] is None or row["low"] <= row["delta_mean"] + 0.02
    assert is_real or {row["num_sentences"] for row in tables["significance"]} == {40, None}


def test_signed_ranks_and_their_corrections(tables, sql):
    changes = f"""
        select 'sparse - dense' as comparison, regime, target_sparsity, embedding_sparsity,
               language,
               delta_dense_mean as change from cells where target_sparsity > 0
        union all select 'pruned - dense embeddings', regime, target_sparsity, embedding_sparsity,
               language,
               delta_embeddings_mean from ({EMBEDDINGS})
    """
    text = f"""
        with ranked as (
            select *, rank() over (
                partition by comparison, regime, target_sparsity, embedding_sparsity
                order by abs(change)
            ) as place from ({changes}) where abs(change) > 1e-12
        ), medians as (
            select comparison, regime, target_sparsity, embedding_sparsity,
                   median(change) as median_change,
                   count(change) as num_languages, count(*) - count(change) as num_languages_missing
            from ({changes}) group by all
        )
        select medians.*,
               least(coalesce(sum(place) filter (change > 0), 0),
               coalesce(sum(place) filter (change < 0), 0))::double
               as statistic, count(*) as num_changed, list(place * sign(change)) as signed,
               list(family) as families
        from (from ranked join languages using (language)) ranked
        join medians using (comparison, regime, target_sparsity, embedding_sparsity)
        group by all
    """
    rows = query(sql, text)
    for row in rows:
        num_changed = row.pop("num_changed")  # a language without any change has no sign
        signed, families = row.pop("signed"), row.pop("families")
        row |= p_of_families(signed, families)
        row |= {"p_independent": exact_p(row["statistic"], num_changed)}
    for family in {(row["comparison"], row["regime"]) for row in rows}:
        members = sorted(
            (row for row in rows if (row["comparison"], row["regime"]) == family),
            key=lambda row: row["p"],
        )
        number, so_far = len(members), 0.0
        for place, row in enumerate(members):
            so_far = max(so_far, min(1.0, (number - place) * row["p"]))
            later = [
                min(1.0, number / (1 + at) * other["p"])
                for at, other in enumerate(members)
                if at >= place
            ]
            row |= {"p_holm": so_far, "p_bh": min(later), "num_tests": number}
    assert_same(
        [row for row in tables["tests"] if row["p"] is not None], rows, ("comparison", *LEVEL)
    )


def exact_p(statistic, number):
    """Two-sided p of Wilcoxon's statistic without ties, from all ways that signs can fall."""
    sums = [
        sum(rank for rank, sign in enumerate(signs, 1) if sign)
        for signs in product((0, 1), repeat=number)
    ]
    return min(1.0, 2 * np.mean(np.array(sums) <= statistic))


def p_of_families(signed, families):
    """Two-sided p of the sum of signed ranks, from all ways that families' signs can fall."""
    names, pairs = sorted(set(families)), list(zip(families, signed, strict=True))
    sums = np.array(
        [
            abs(sum(signs[names.index(one)] * rank for one, rank in pairs))
            for signs in product((1, -1), repeat=len(names))
        ]
    )
    return {
        "p": np.mean(sums >= abs(sum(signed)) - 1e-9),
        "p_least": np.mean(sums >= sums.max() - 1e-9),
        "num_families": len(names),
    }


@pytest.fixture(scope="module")
def covariates(tables, sql, is_real):
    """By regime and covariate the value of each language, from the raw files."""
    text = """
        select regime, language, log10(coalesce(max(r.num_train_sentences) filter (
                   regime = 'monolingual'), least(any_value(l.num_train),
                   coalesce(max(r.corpus_max_train_sentences), 1e9)))) as log10_train
        from t join languages l using (language) left join (
            select trial_id, num_train_sentences, corpus_max_train_sentences from trials
        ) r using (trial_id) where target_sparsity > 0 group by all
    """
    found = {}
    for row in query(sql, text):
        found.setdefault((row["regime"], "log10_train"), {})[row["language"]] = row["log10_train"]
    text = """
        select regime, language, avg(f1) as dense_f1 from (
            select distinct t.regime, t.language, f.f1, f.trial_id from t
            join f1 f on (f.trial_id, f.language) = (t.dense_trial_id, t.language)
            where t.target_sparsity > 0
        ) group by all
    """
    for row in query(sql, text):
        found.setdefault((row["regime"], "dense_f1"), {})[row["language"]] = row["dense_f1"]
    if is_real:
        text = """
            select regime, language, sum(num_subwords) / sum(len(tokens)) as fertility
            from sentences join (select distinct t.regime, t.language, set_id
                from t join predictions p on (p.trial_id, p.language) = (t.trial_id, t.language)
                where t.target_sparsity > 0) using (language, set_id) group by all
        """
    else:
        text = """
            select regime, language, avg(num_subwords / num_words) as fertility,
                   avg(num_unknown / num_subwords) as unknown_rate,
                   log10(avg(num_pieces)) as log10_embedding_rows
            from vocabulary where target_sparsity > 0 group by all
        """
    for row in query(sql, text):
        for name in row.keys() - {"regime", "language"}:
            found.setdefault((row["regime"], name), {})[row["language"]] = row[name]
    return found


def test_covariates(tables, covariates):
    told = {}
    for row in tables["languages"]:
        if row["covariate"] != "log2_wikipedia_mb" and row["value"] is not None:
            told.setdefault((row["regime"], row["covariate"]), {})[row["language"]] = row["value"]
    assert {place: pytest.approx(values) for place, values in covariates.items()} == told


def test_rank_correlations(tables, sql, covariates):
    families = {row["language"]: row["family"] for row in query(sql, "from languages")}
    columns = {"change": "delta_dense_mean", "relative change": "relative_dense_mean"}
    losses = query(sql, "from cells where target_sparsity > 0")
    rows = [
        row for row in tables["correlations"] if (row["regime"], row["covariate"]) in covariates
    ]
    assert sum(row["rho"] is not None for row in rows) > 10
    for row in rows:
        values = covariates[row["regime"], row["covariate"]]
        here = [
            one
            for one in losses
            if all(one[name] == row[name] for name in LEVEL)
            and one[columns[row["outcome"]]] is not None
        ]
        kept = [one for one in here if one["f1_mean"] >= 0.01 and one["language"] in values]
        assert row["num_languages"] == len(kept)
        assert row["num_collapsed"] == sum(one["f1_mean"] < 0.01 for one in here)
        if row["rho"] is None:
            assert len(kept) < 3 or row["reason"]
            continue
        first = np.array([values[one["language"]] for one in kept])
        second = np.array([one[columns[row["outcome"]]] for one in kept])
        assert row["rho"] == pytest.approx(stats.spearmanr(first, second).statistic)
        assert row["slope"] == pytest.approx(stats.linregress(first, second).slope)
        ranks = [stats.rankdata(one.round(12)) for one in (first, second)]
        p = p_of_exchanges(*ranks, [families[one["language"]] for one in kept])
        assert row["p"] == (None if p is None else pytest.approx(p))


def test_slopes_of_two_stages(tables, sql, covariates):
    families = {row["language"]: row["family"] for row in query(sql, "from languages")}
    columns = {"change": "delta_dense_mean", "relative change": "relative_dense_mean"}
    cells = query(sql, "from cells where target_sparsity > 0 and delta_dense_mean is not null")
    rows = [row for row in tables["slopes"] if (row["regime"], row["covariate"]) in covariates]
    assert sum(row["estimate"] is not None for row in rows) > 4
    for row in rows:
        is_dense = row["embeddings"] == "dense"
        here = [
            one
            for one in cells
            if one["regime"] == row["regime"] and (one["embedding_sparsity"] == 0) == is_dense
        ]
        sparsities = sorted({one["target_sparsity"] for one in here})
        losses, f1s = {}, {}
        for one in here:
            losses.setdefault(one["language"], {})[one["target_sparsity"]] = one[
                columns[row["outcome"]]
            ]
            f1s[one["language"], one["target_sparsity"]] = one["f1_mean"]
        whole = [
            code for code, of_language in losses.items() if len(of_language) == len(sparsities)
        ]
        kept = [code for code in whole if f1s[code, sparsities[0]] >= 0.01]
        levels = [at for at in sparsities if all(f1s[code, at] >= 0.01 for code in kept)]
        assert row["num_collapsed"] == len(whole) - len(kept)
        assert row["num_levels"] == len(levels)
        values = covariates[row["regime"], row["covariate"]]
        kept = [code for code in kept if code in values]
        assert row["num_languages"] == len(kept)
        if row["estimate"] is None:
            assert len(kept) < 3 or len(levels) < 2 or row["reason"]
            continue
        slopes = np.array(
            [stats.linregress(levels, [losses[code][at] for at in levels]).slope for code in kept]
        )
        first = np.array([values[code] for code in kept])
        line = stats.linregress(first, slopes)
        assert row["estimate"] == pytest.approx(line.slope)
        assert row["std_error"] == pytest.approx(line.stderr)
        assert row["p_independent"] == pytest.approx(line.pvalue)
        p = p_of_exchanges(first, slopes, [families[code] for code in kept])
        assert row["p"] == (None if p is None else pytest.approx(p))


def p_of_exchanges(first, second, families):
    """Two-sided p of the sum of products, over all orders that leave languages in their family."""
    places = range(len(families))
    sums = np.array(
        [
            first[list(way)] @ second
            for way in permutations(places)
            if all(families[to] == families[at] for at, to in zip(places, way, strict=True))
        ]
    )
    distances = np.abs(sums - sums.mean())
    is_constant = np.ptp(distances) < 1e-9
    return None if is_constant else np.mean(distances >= distances[0] - 1e-9)
