"""Getting a model and speaking to it."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ppl import Context, cache_info, infer, program, sample
from ppl import lm as lm_module
from ppl.lm import LM, load_lm, table_lm, unload_lms
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.table import TableModel


def table() -> TableModel:
    return TableModel.random(0, ["a", "b"], eos="$")


def test_importing_does_not_import_torch() -> None:
    code = "import sys, ppl.lm, ppl.text_distributions; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_table_by_rows_and_by_seed() -> None:
    lm = table_lm(["a", "b"], {(): {"a": Fraction(1, 3), "b": Fraction(2, 3)}}, eos="$")
    assert lm.context().token().log_prob("a") == pytest.approx(-1.0986122886681098)
    assert lm.encode("ab") == (0, 1) and lm.decode((1, 0, 2)) == "ba"
    assert lm.describe() == "table model of 3 tokens" and "table" in repr(lm)
    assert table_lm(["a"], seed=3, order=1).name == "table 3"
    with pytest.raises(ValueError, match="either rows"):
        table_lm(["a"])
    with pytest.raises(ValueError, match="either rows"):
        table_lm(["a"], {(): {"a": 1}}, seed=1)
    with pytest.raises(ValueError, match="order goes with seed"):
        table_lm(["a"], {(): {"a": 1}}, order=1)


def test_a_model_given_directly() -> None:
    model = table()
    lm = load_lm(model, max_batch=3)
    assert lm.model is model and isinstance(lm.engine, LocalEngine) and lm.engine.max_batch == 3
    assert load_lm(model, max_batch=3) is lm
    assert load_lm(model) is not lm
    assert load_lm(table(), max_batch=3) is not lm
    with pytest.raises(TypeError, match="takes no bos"):
        load_lm(model, bos=1)


def test_a_model_given_directly_is_not_kept_alive() -> None:
    lm = load_lm(table())
    gone = weakref.ref(lm)
    assert lm in lm_module._given.values()
    del lm
    gc.collect()
    assert gone() is None


def test_paths_and_names_reach_the_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading = pytest.importorskip("ppl.runtime.engines.loading")
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(place: str, **options: Any) -> TableModel:
        asked.append((place, options))
        return table()

    monkeypatch.setattr(loading, "load_transformers", load)
    unload_lms()
    (tmp_path / "config.json").write_text("{}")
    lm = load_lm(tmp_path, dtype="float32")
    assert load_lm(str(tmp_path) + "/", dtype="float32") is lm
    assert load_lm(tmp_path) is not lm
    assert asked[0] == (str(tmp_path.resolve()), {"device": "auto", "dtype": "float32"})
    assert load_lm("org/model-1.5", bos=7).name == "org/model-1.5"
    assert asked[-1] == ("org/model-1.5", {"device": "auto", "dtype": "auto", "bos": 7})
    assert load_lm("gpt2", extra=[1]) is not load_lm("gpt2", extra=[1])  # what cannot be compared is not cached
    unload_lms()
    assert load_lm(tmp_path, dtype="float32") is not lm
    unload_lms()


def test_a_name_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    loading = pytest.importorskip("ppl.runtime.engines.loading")

    def load(place: str, **options: Any) -> TableModel:
        raise OSError("no such repository\nand much more")

    monkeypatch.setattr(loading, "load_transformers", load)
    with pytest.raises(FileNotFoundError, match=r"^'no/such' is no folder here, .* no such repository$"):
        load_lm("no/such")


def test_places_that_hold_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no config\.json; pass the folder"):
        load_lm(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="is a file; pass the folder"):
        load_lm(tmp_path / "file")
    for missing in (tmp_path / "missing", str(tmp_path / "missing"), "./missing", "~/missing/model"):
        with pytest.raises(FileNotFoundError, match="does not exist; pass the folder"):
            load_lm(missing)
    monkeypatch.setattr(lm_module, "_BUNDLED", tmp_path)
    with pytest.raises(FileNotFoundError, match="lacks the bundled model"):
        load_lm()
    with pytest.raises(RuntimeError, match=r"can't be reached.*Look whether the server is up"):
        load_lm("http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ValueError, match="a server chooses device"):
        load_lm("http://127.0.0.1:9/v1", device="cpu")
    with pytest.raises(TypeError, match="not a int"):
        load_lm(3)  # type: ignore[arg-type]


def test_conversations_go_through_the_chat_template() -> None:
    model = table()
    model.encode_chat = lambda messages: model.encode("".join(m["content"] for m in messages))  # type: ignore[method-assign]
    lm = load_lm(model)
    assert lm.context([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]).tokens == (0, 1)
    with pytest.raises(ValueError, match="list of messages is empty"):
        lm.context([])
    bad: list[Any] = [3, lm.context(), {"role": "user", "content": "a"}, [{"role": "user"}], ["a"]]
    for messages in bad:
        with pytest.raises(TypeError, match='"role": "user"'):
            lm.context(messages)


def test_a_model_without_a_template_says_so() -> None:
    with pytest.raises(ValueError, match="no chat template"):
        load_lm(table()).context([{"role": "user", "content": "a"}])


def test_a_pair_of_a_transformers_model_and_its_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("ppl.runtime.engines.transformers")
    monkeypatch.setattr(transformers, "TransformersModel", lambda model, tokenizer, **options: table())
    pair = (object(), object())
    lm: LM = load_lm(pair)
    assert lm.name == "object" and isinstance(lm.model, TableModel)


@program
def one_token(context: Context) -> str:
    token = sample(context.token())
    return str(token)


def test_what_is_cached() -> None:
    unload_lms()
    assert cache_info() == {}
    lm = load_lm()
    load_lm(table())
    context = lm.context("Q: Start with 17. Add 25.\n")
    info = cache_info()
    assert list(info) == ["bundled"] and info["bundled"].usage.positions == 0
    infer(one_token, context, n=4, seed=0)
    after = cache_info()["bundled"]
    assert 0 < after.bytes <= after.budget and after.usage.positions >= len(context.tokens) and after.paths >= 1
    assert "positions computed" in str(after)
    unload_lms()
