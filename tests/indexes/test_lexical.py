"""BM25 stays in step with the corpus, and fusion counts each passage once."""

import gc
import json
import sys
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.ingest import add_files, delete_corpus, remove_sources
from indexes.lexical import LexicalIndex, foreign_language, question_words
from indexes.paths import DataPaths


def add(paths: DataPaths, encoder: KeywordEncoder, file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    list(add_files(paths, "pets", [file], encoder))


def test_rare_words_win_and_passages_without_a_shared_word_are_left_out(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "The animal purrs softly.")
    add(paths, encoder, tmp_path / "dogs.txt", "The animal barks.")
    found = LexicalIndex.open(paths, "pets").search("which animal purrs", 5)
    assert [candidate.passage.source for candidate in found] == ["cats.txt", "dogs.txt"]
    assert LexicalIndex.open(paths, "pets").search("zebra", 5) == []
    assert LexicalIndex.open(paths, "pets").search("?!", 5) == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("", "Every employee has leave of 25 days a year. Requests go to the office four weeks before, in writing."),
        ("", 'def add(self, a: int, b: int) -> int:\n    """The sum of both."""\n    return a + b  # as in the book'),
        (
            "",
            "José Núñez, Malmö; Søren Østergård, Århus; François Müller, Zürich; Zoë Brontë; Łukasz Nowak, Gdańsk",
        ),
        ("", "4711, 25.0, x"),
        (
            "German",
            "Alle Mitarbeiter haben Anspruch auf 30 Tage Urlaub im Jahr. Der Antrag ist vier Wochen vorher zu stellen.",
        ),
        ("French", "Chaque salarié a droit à des congés par an. La demande doit être déposée un mois avant le départ."),
        ("Spanish", "Cada empleado tiene derecho a 25 días al año. La solicitud se presenta antes en el departamento."),
        ("Chinese", "员工每年享有二十五天带薪年假。"),
        ("Japanese", "火災のときは階段を使って避難してください。"),
        ("Korean", "화재가 나면 계단을 이용해 대피하십시오."),
        ("Devanagari letters", "आग लगने पर सीढ़ियों से बाहर निकलें।"),
        ("Cyrillic letters", "При пожаре пользуйтесь лестницей (see the plan)."),
    ],
)
def test_a_language_other_than_english_is_told_by_its_letters_or_everyday_words(language: str, text: str) -> None:
    assert foreign_language([text]) == language


def test_everyday_words_are_those_of_the_corpus() -> None:
    assert question_words("Wo ist die Leiter", "de") == ["leit"]


def test_the_index_follows_a_change(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    assert LexicalIndex.open(paths, "pets").search("purr", 5)
    add(paths, encoder, tmp_path / "cats.txt", "Cats meow.")
    lexical = LexicalIndex.open(paths, "pets")
    assert lexical.search("purr", 5) == []
    assert [c.passage.text for c in lexical.search("meow", 5)] == ["Cats meow."]


def test_scores_are_given_for_passages_by_id(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    lexical = LexicalIndex.open(paths, "pets")
    (best,) = lexical.search("purr", 5)
    assert lexical.scores("purr", [best.passage.id, "gone"]) == [best.score, 0.0]


def test_opening_again_reads_what_is_kept(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    first = LexicalIndex.open(paths, "pets").search("purr", 5)
    (kept,) = (paths.corpus("pets") / "lexical").iterdir()
    written = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    assert LexicalIndex.open(paths, "pets").search("purr", 5) == first
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()} == written
    add(paths, encoder, tmp_path / "cats.txt", "Cats meow.")
    (kept.parent / ".half-written.partial").mkdir()  # by a process that was killed
    LexicalIndex.open(paths, "pets")
    (after,) = kept.parent.iterdir()
    assert after != kept and after.name != ".half-written.partial"


def test_a_corpus_without_passages_answers_nothing(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    remove_sources(paths, "pets", ["cats.txt"])
    lexical = LexicalIndex.open(paths, "pets")
    assert lexical.search("purr", 5) == []
    assert lexical.scores("purr", ["gone"]) == [0.0]


@pytest.mark.parametrize(
    ("question", "right", "others"),
    [
        ("Rule 3.1.3", "Rule 3.1.3 Keep records of each transfer.", ["Rule 3.1.2 Keep records of each complaint."]),
        ("§ 12(3)(b)", "§ 12(3)(b) The tenant pays the power.", ["§ 12(3)(a) The tenant pays the water."]),
        ("vitamin C", "Vitamin C is good for the gums.", ["Vitamin A is good for the eyes."]),
        ("C++", "C++ destructors run late.", ["C# finalizers run late."]),
        ("R packages", "R packages live in a library.", ["Python packages live in a library."]),
        ("read timeout", "Set read_timeout to thirty.", ["Set write_limit to thirty."]),
        ("connection pool", "Call openConnectionPool first.", ["Call closeEverything last."]),
        ("wifi", "The Wi-Fi of the upper floor.", ["The heating of the upper floor."]),
        ("Wi-Fi", "Our wifi is slow.", ["Our lift is slow."]),
        ("IT desk", "The IT desk answers calls.", ["The front desk says that it answers calls."]),
        ("1000 euro", "It costs 1,000 euro.", ["It costs 2,000 euro."]),
        ("forêt", "La fore\u0302t du roi.", ["La maison du roi."]),
        ("efficiency", "The e\ufb03ciency of it.", ["The length of it."]),
        ("ABC123", "Part ＡＢＣ１２３ is out.", ["Part ＡＢＣ１２４ is out."]),
        ("confirmation", "The con\u00adfir\u00admation is here.", ["The letter is here."]),
        ("GRÖSSE strasse", "Die Größe der Straße.", ["Die Länge der Bahn."]),
        ("étude", "Le résumé de l'étude.", ["Le résumé de l'usine."]),
        ("忘记密码怎么办", "忘记密码时请联系信息技术服务台。", ["工资在每月二十五日发放。"]),
        ("休暇", "従業員は休暇を取ることができます。", ["鍵は青い鉢の下にあります。"]),
        ("휴가", "모든 직원은 휴가를 받습니다.", ["열쇠는 화분 아래에 있습니다."]),
        ("วันหยุด", "พนักงานทุกคนมีวันหยุดยี่สิบห้าวัน", ["กุญแจอยู่ใต้กระถาง"]),
        ("छुट्टी", "पच्चीस दिन की छुट्टी मिलती है।", ["वेतन हर महीने मिलता है।"]),
        ("ছুটি", "কর্মচারীরা ছুটি পান।", ["চাবি টবের নিচে।"]),
        ("விடுமுறை", "ஊழியர்களுக்கு விடுமுறை உண்டு.", ["சாவி தொட்டியின் கீழே."]),
        ("موظف", "يحق لكل مُوَظَّف إجازة.", ["المفتاح تحت الأصيص."]),
        ("istanbul", "İSTANBUL büyük bir şehir.", ["ANKARA büyük bir şehir."]),
    ],
)
def test_a_word_finds_its_text_in_any_script_and_shape(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, question: str, right: str, others: list[str]
) -> None:
    rows = [{"id": "0", "text": right}, *({"id": str(n), "text": text} for n, text in enumerate(others, start=1))]
    add(paths, encoder, tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    lexical = LexicalIndex.open(paths, "pets")
    best, *rest = lexical.search(question, 5)
    assert best.passage.document_id == "0"
    assert all(each.score < best.score for each in rest)
    assert lexical.language == ""  # two texts do not tell it


def test_endings_do_not_matter_in_a_language_that_is_sure(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    sentence = "The tenant of room {} has paid the rent for the whole of the month and keeps the key of the house."
    rows = [{"id": str(n), "text": sentence.format(n)} for n in range(12)]
    rows.append({"id": "movers", "text": "The movers were carrying the boxes of the old office up the stairs all day."})
    add(paths, encoder, tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    lexical = LexicalIndex.open(paths, "pets")
    assert lexical.language == "en"
    assert [hit.passage.document_id for hit in lexical.search("who carries a box?", 5)] == ["movers"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_files_of_a_corpus_that_is_gone_are_let_go_of(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / "cats.txt").write_text(f"Cats purr {name}.")
        list(add_files(paths, name, [tmp_path / "cats.txt"], encoder))
        assert LexicalIndex.open(paths, name).search("cats")
    delete_corpus(paths, "one")
    assert LexicalIndex.open(paths, "two").search("cats")
    gc.collect()
    mapped = Path("/proc/self/maps").read_text()
    assert str(paths.corpus("two")) in mapped
    assert str(paths.corpora / ".one") not in mapped
