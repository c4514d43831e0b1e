"""The bundled model and the problems that it was trained on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ppl.bundled import model_path, problems

QUESTION = "Start with 17. Add 25. Multiply by 3. Subtract 40."
LINES = ("17+25=42", "42*3=126", "126-40=86", "A: 86")


# Problems


def test_solution_of_a_known_question() -> None:
    assert problems.solve(QUESTION) == LINES
    assert problems.solve(f"Q: {QUESTION}\n") == LINES
    assert problems.solve("Start with 5.") == ("A: 5",)


@pytest.mark.parametrize(
    "question", ["", "Start with 5", "Start with 05.", "Start with 5. Divide by 2.", "Start with 5. Subtract 6."]
)
def test_what_is_not_a_question_is_refused(question: str) -> None:
    with pytest.raises(ValueError):
        problems.solve(question)


@pytest.mark.parametrize("split", ["train", "test"])
def test_problems_are_what_they_say(split: problems.Split) -> None:
    for made in problems.problems(200, (1, 12), seed=3, split=split):
        assert made.prompt == f"Q: {made.question}\n"
        assert problems.solve(made.question) == made.lines
        assert made.solution == "\n".join(made.lines) + "\n"
        assert 1 <= made.length == len(made.steps) <= 12
        assert made.answer == problems.answer_in(made.solution)
        assert problems.split_of(made.question) == split
        assert all(problems.arithmetic_holds(step) for step in made.steps)
        assert all(0 <= int(step.split("=")[1]) <= problems.LARGEST for step in made.steps)


def test_generator_is_deterministic() -> None:
    assert problems.problem(7, 4) == problems.problem(7, 4)
    assert problems.problem(7, 4) != problems.problem(8, 4)
    assert problems.problem(7, 4) != problems.problem(7, 4, "test")
    first = problems.problems(50, (1, 10), seed=1)
    assert first == problems.problems(80, (1, 10), seed=1)[:50]
    assert first != problems.problems(50, (1, 10), seed=2)
    assert list(problems.stream(iter([2, 3]), 5)) == list(problems.stream(iter([2, 3, 4]), 5))[:2]
    # The same on every machine and in every release: the numbers in the model card depend on it.
    assert problems.problem(0, 3, "test").question == "Start with 92. Subtract 51. Subtract 36. Add 41."


def test_lengths_of_a_list_of_problems() -> None:
    assert [made.length for made in problems.problems(5, [2, 4])] == [2, 4, 2, 4, 2]
    assert {made.length for made in problems.problems(100, (3, 5))} == {3, 4, 5}
    assert {made.length for made in problems.problems(3, 6)} == {6}
    assert problems.problems(0) == []
    assert len({made.question for made in problems.problems(300, 1)}) == 300
    impossible: list[int | tuple[int, int] | list[int]] = [0, [], (0, 0)]
    for steps in impossible:
        with pytest.raises(ValueError):
            problems.problems(2, steps)
    with pytest.raises(ValueError):
        problems.problem(0, 1, "dev")  # type: ignore[arg-type]


def test_splits_share_no_question() -> None:
    train = {made.question for made in problems.stream(iter([1, 2] * 2000), 0, "train")}
    test = {made.question for made in problems.problems(300, [1, 2])}
    assert not train & test
    assert problems.split_of(QUESTION) in ("train", "test")


@pytest.mark.parametrize("line", ["17+25=42", "17+25=42\n", "42*3=126", "126-40=86", "5-5=0", "0*7=0"])
def test_right_arithmetic(line: str) -> None:
    assert problems.arithmetic_holds(line)


@pytest.mark.parametrize(
    "line",
    [
        "17+25=43",
        "17+25=42\n\n",
        " 17+25=42",
        "17 + 25 = 42",
        "017+25=42",
        "17+25=",
        "17+25",
        "",
        "A: 42",
        "8/2=4",
        "3-5=-2",
        "17+25=42=42",
        "1+2+3=6",
        "１+1=2",
        "17+25=42.",
        "2**3=8",
    ],
)
def test_wrong_arithmetic(line: str) -> None:
    assert not problems.arithmetic_holds(line)


def test_steps_are_checked_against_the_question() -> None:
    for count, line in enumerate(LINES):
        assert problems.check_step(QUESTION, LINES[:count], line)
        assert problems.check_step(QUESTION, [f"{earlier}\n" for earlier in LINES[:count]], f"{line}\n")
    assert problems.arithmetic_holds("17+26=43") and not problems.check_step(QUESTION, [], "17+26=43")
    assert not problems.check_step(QUESTION, [], "25+17=42")
    assert not problems.check_step(QUESTION, LINES[:1], "42*3=136")
    assert not problems.check_step(QUESTION, LINES[:2], "A: 126")
    assert not problems.check_step(QUESTION, LINES[:3], "A: 87")
    assert not problems.check_step(QUESTION, ["17+25=52"], "52*3=156")
    assert not problems.check_step(QUESTION, LINES, "A: 86")


def test_answers_are_found_in_text() -> None:
    assert problems.answer_in("17+25=42\nA: 42\n") == "42"
    assert problems.answer_in("17+25=42\nA: 42") == "42"
    assert problems.answer_in("17+25=42\n") is None
    assert problems.answer_in("A: x\n") is None


def test_corrupted_equations_are_wrong_and_well_formed() -> None:
    rng = random.Random(0)
    for line in [step for made in problems.problems(100, (1, 10)) for step in made.steps] + ["5-5=0"]:
        wrong = problems.corrupt(line, rng)
        assert wrong != line and wrong.split("=")[0] == line.split("=")[0]
        assert not problems.arithmetic_holds(wrong)
        assert int(wrong.split("=")[1]) >= 0
    assert problems.check_prompt("17+25=42\n") == "Check: 17+25=42\n"


# The checkpoint


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path())


@pytest.fixture(scope="module")
def model() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    return loaded.eval()


def test_folder_is_complete_and_small() -> None:
    names = {file.name for file in model_path().iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert sum(file.stat().st_size for file in Path(model_path()).rglob("*") if file.is_file()) <= 10_000_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n",
        " leading and trailing ",
        "naïve café",
        "漢字かな 한국어",
        "😀👩‍👩‍👧",
        "a\tb\r\nc",
        "\x00\x7f\u2028",
        "½ ² ٣ ४",
        "don't , stop .",
        "e\u0301",
        "1234567890",
        f"Q: {QUESTION}\n17+25=42\n",
        "{} [] <s> </s>",
    ],
)
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    assert all(0 <= token < len(tokenizer) for token in ids)


def test_random_unicode_survives_the_tokenizer(tokenizer: Any) -> None:
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(20))
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_and_newlines_are_single_tokens(tokenizer: Any) -> None:
    pieces = [tokenizer.decode([token]) for token in tokenizer("Q: Start with 170.\n1700+25=1725\n\n")["input_ids"]]
    assert pieces == ["Q", ":", " Start", " with", " ", *"170", ".", "\n", *"1700+25=1725", "\n", "\n"]
    for word in (" Add", " Subtract", " Multiply", " by", "Check", "yes", "no"):
        assert len(tokenizer(word)["input_ids"]) == 1
    digits = [token for token in range(len(tokenizer)) if any(letter.isdigit() for letter in tokenizer.decode([token]))]
    assert len(digits) == 10


def test_special_tokens(tokenizer: Any, model: Any) -> None:
    assert tokenizer.bos_token is None
    assert tokenizer.eos_token_id == model.config.eos_token_id == model.generation_config.eos_token_id
    assert tokenizer.pad_token_id == model.config.pad_token_id != tokenizer.eos_token_id
    assert len(tokenizer) == model.config.vocab_size


def test_chat_template(tokenizer: Any) -> None:
    user = {"role": "user", "content": "Start with 17. Add 25."}
    render = tokenizer.apply_chat_template
    assert render([user], tokenize=False) == "Q: Start with 17. Add 25.\n"
    assert render([user], tokenize=False, add_generation_prompt=True) == "Q: Start with 17. Add 25.\n"
    system = {"role": "system", "content": "Be right."}
    assistant = {"role": "assistant", "content": "17+25=42\nA: 42\n"}
    whole = "Be right.\nQ: Start with 17. Add 25.\n17+25=42\nA: 42\n<eos>"
    assert render([system, user, assistant], tokenize=False) == whole
    assert render([{"role": "user", "content": "Check: 1+1=2"}], tokenize=False) == "Check: 1+1=2\n"
    made = problems.problem(0, 2)
    ids = render([{"role": "user", "content": made.question}], return_dict=False)
    assert ids == tokenizer(made.prompt)["input_ids"]


def test_the_model_solves_short_problems_and_not_all_long_ones(model: Any, tokenizer: Any) -> None:
    import torch

    from ppl.bundled.measuring import complete

    torch.manual_seed(0)
    short, long = problems.problems(50, 2, seed=11), problems.problems(50, 7, seed=11)
    greedy = complete(model, tokenizer, [made.prompt for made in short], 64, sample=False)
    assert sum(text == made.solution for text, made in zip(greedy, short, strict=True)) >= 40
    sampled = complete(model, tokenizer, [made.prompt for made in long], 128)
    assert 3 <= sum(text == made.solution for text, made in zip(sampled, long, strict=True)) <= 45


def test_the_model_judges_better_than_chance(model: Any, tokenizer: Any) -> None:
    from ppl.bundled.documents import verdict_example
    from ppl.bundled.measuring import verdict_odds

    rng = random.Random(1)
    asked = [verdict_example(made, rng) for made in problems.problems(200, (1, 6), seed=12)]
    odds = verdict_odds(model, tokenizer, [prompt for prompt, _ in asked])
    assert sum((odd > 0.5) == (verdict == "yes\n") for odd, (_, verdict) in zip(odds, asked, strict=True)) >= 120


def test_the_card_says_how_the_checkpoint_was_made() -> None:
    record = json.loads((model_path() / "training.json").read_text(encoding="utf-8"))
    text = (model_path() / "README.md").read_text(encoding="utf-8")
    said = f"    {record['command']}\n" if record["command"] else f"{record['note']}No single command makes"
    assert said in text and f"{record['updates']:,} updates" in text


def test_the_same_seed_trains_the_same_model(tmp_path: Path) -> None:
    from ppl.bundled.train import train

    def trained(name: str, seed: int) -> bytes:
        train(tmp_path / name, (2, 4), seed, rows=2, device="cpu", compiled=False)
        return (tmp_path / name / "model.safetensors").read_bytes()

    assert trained("one", 0) == trained("two", 0) != trained("three", 1)
