"""Rows of public repositories: real paths in, labels out."""

import json

import pytest

from uniwhisper.core.errors import ManifestError
from uniwhisper.data.public.row import parse_source, shipped_sources, source_named

AMBIENT = "src/main/resources/assets/ambientsounds/sounds"
# One or more paths of each repository, as its checkout has them, and the labels that belong to them.
REAL_PATHS = [
    ("moodist_ambience", "public/sounds/animals/dog-barking.mp3", {"caption": "a dog barking", "label": "dog"}),
    ("moodist_ambience", "public/sounds/noise/white-noise.wav", {"caption": "white noise", "label": "white noise"}),
    ("moodist_ambience", "public/sounds/silence.wav", None),
    ("noixer_ambience", "assets/260105__joshs__train.mp3", {"label": "train"}),
    ("noixer_ambience", "assets/wtf.mp3", None),
    ("noice_ambience", "app/src/main/assets/human_heartbeat.mp3", {"label": "heartbeat"}),
    ("noice_ambience", "app/src/main/assets/bonfire_0.mp3", None),
    ("blanket_ambience", "data/resources/sounds/storm.ogg", {"label": "thunder", "license": "CC BY"}),
    ("ambientsounds", f"{AMBIENT}/animals/crow/crow3.ogg", {"label": "crow"}),
    ("ambientsounds", f"{AMBIENT}/animals/bird/bird-ambience-jungle2.ogg", {"caption": "birds in a jungle"}),
    ("ambientsounds", f"{AMBIENT}/wind/howling-wind.ogg", {"caption": "howling wind", "label": "wind"}),
    ("petz_animals", "petz/sounds/petz_polar_bear_growl.ogg", {"label": "bear", "caption": "a bear growling"}),
    ("petz_animals", "petz/sounds/petz_kitty_meow2.ogg", {"label": "cat", "caption": "a cat meowing"}),
    ("petz_animals", "petz/sounds/petz_zombie_noise.ogg", None),
    ("animalworld_animals", "sounds/animalworld_wasp3.ogg", {"label": "wasp"}),
    ("bulk_material", "data/07_12_2017_recordings/steel_nut_M3_2.wav", {"label": "small steel nuts"}),
    ("dsurround_sounds", "src/main/resources/assets/dsurround/sounds/ambient/owl/owl1.ogg", {"label": "owl"}),
    ("berklee_more", "berklee/police_siren_2.mp3", {"label": "police siren", "name": "police siren"}),
    ("berklee_more", "berklee/zube_tube_sus4_long.mp3", {"name": "zube tube sus long"}),
    ("mandarin_words_more", "64k/hsk/cmn-池塘.mp3", {"text": "池塘", "language": "zh"}),
    ("mandarin_syllables", "64k/syllabs/cmn-dian3.mp3", {"text": "dian3", "syllable": "dian", "tone": "3"}),
    ("mandarin_syllables", "64k/hsk/cmn-池塘.mp3", None),
    ("gcompris_english", "en/words/spider_web.ogg", {"text": "spider web"}),
    ("gcompris_english", "en/alphabet/U0037.ogg", {"text": "seven", "label": "seven", "digit": "seven"}),
    ("gcompris_english", "en/alphabet/12.ogg", {"text": "twelve", "label": "twelve"}),
    ("gcompris_english", "en/alphabet/U0071.ogg", {"text": "q", "label": "q"}),
    ("gcompris_english", "fr/words/angel.ogg", None),
    ("gcompris_languages", "pt_BR/words/angel.ogg", {"language": "Portuguese"}),
    ("gcompris_languages", "en/words/angel.ogg", None),
    ("wake_words_more", "audio/smart mirror/12.flac", {"label": "smart mirror", "text": "smart mirror"}),
    ("precise_wake_words", "heychatterbox/en-us/x.wav", {"label": "hey chatterbox"}),
    ("precise_wake_words", "not-wake-words/en/x.wav", None),
    ("fluidr3_all", "FluidR3_GM/fx_1_rain-mp3/Ab5.mp3", {"label": "fx 1 rain", "note": "Ab5"}),
    ("ss14_sounds", "Resources/Audio/Animals/cat_hiss.ogg", {"caption": "a cat hissing", "license": "CC0"}),
    ("ss14_sounds", "Resources/Audio/Animals/monkey_scream.ogg", None),  # non-commercial
    ("angband_sounds", "lib/sounds/plm_door_rusty.mp3", {"label": "door creak", "caption": "a door creaking"}),
    ("megaglest_sounds", "tilesets/autumn/sounds/owl.ogg", {"label": "owl"}),
    ("megaglest_sounds", "techs/megapack/commondata/sounds/archer_ack1.wav", None),  # speech
    ("kenney_sounds", "Audio (295 files)/RPG sounds (50 sounds)/doorOpen_1.ogg", {"caption": "a door opening"}),
    ("tgstation_sounds", "sound/machines/slowclap.ogg", {"label": "clapping"}),
    ("tgstation_sounds", "modular_septic/sound/emotes/clap1.ogg", None),
    ("baystation_sounds", "sound/voice/emotes/sneezef1.ogg", {"label": "sneeze", "caption": "a person sneezing"}),
    ("civ13_sounds", "sound/effects/church_bells.ogg", {"label": "church bells"}),
    (
        "doggy_daycare_dogs",
        "src/assets/sounds/dog_sleeping/271446__mrauralization__snoring.ogg",
        {"license": "CC BY 4.0"},
    ),
    ("doggy_daycare_dogs", "src/assets/sounds/dog_sleeping/444864__alec_havinmaa__dog-snoring.ogg", None),
    ("soundfx_library", "Nature/Single/Thunder/thunder-3.mp3", {"label": "thunder", "license": "CC BY 3.0"}),
    ("soundfx_library", "Combat/Single/Shield Hit/shield-hit-1.mp3", None),  # non-commercial
    ("minetest_ambience", "ambience/sounds/RattleSnake.ogg", {"label": "rattlesnake", "license": "public domain"}),
    ("cme_animals", "sheep/sounds/creatures_shears.ogg", {"label": "scissors"}),
    ("mobs_animal", "sounds/mobs_bee.ogg", {"label": "bees", "license": "WTFPL"}),
    ("homedecor_sounds", "homedecor_bathroom/sounds/homedecor_toilet_flush.ogg", {"label": "toilet flush"}),
    ("snap_sounds", "Sounds/sneeze-male.wav", {"label": "sneeze"}),
    ("snap_sounds", "Sounds/drum.wav", None),
]


@pytest.mark.parametrize(("name", "path", "expected"), REAL_PATHS)
def test_real_paths_give_their_labels(name, path, expected):
    labels = source_named(name).fields_of(path, {})
    if expected is None:
        assert labels is None
    else:
        assert expected.items() <= labels.items()
        assert source_named(name).corpus.answers(path, labels)


def test_only_what_a_path_says_becomes_a_label():
    assert "digit" not in source_named("gcompris_english").fields_of("en/alphabet/12.ogg", {})
    assert "label" not in source_named("berklee_more").fields_of("berklee/zube_tube_sus4_long.mp3", {})


def test_tables_beside_the_recordings_are_read(tmp_path):
    orders = source_named("coffee_orders_en")
    label = tmp_path / "data/label/label.json"
    label.parent.mkdir(parents=True)
    slots = {"coffeeDrink": "iced mocha", "milkAmount": " soy milk"}
    label.write_text(json.dumps({"a.wav": {"intent": "orderDrink", "slots": slots}}))
    table = orders.read_table(tmp_path)
    labels = orders.fields_of("data/speech/clean/a.wav", table)
    assert labels == {"intent": "order drink", "drink": "iced mocha", "milk": "soy milk", "language": "en"}
    assert orders.fields_of("data/speech/clean/unlabelled.wav", table) is None

    kathleen = source_named("kathleen_more")
    (tmp_path / "cmuarctic.data").write_text('( arctic_a0007 "A \\"plain\\" line, for once." )\n')
    labels = kathleen.fields_of("data/arctic_a0007_1592.wav", kathleen.read_table(tmp_path))
    assert labels["text"] == 'A \\"plain\\" line, for once.'

    birds = source_named("backyard_birds")
    row = {"recording_id": "12", "common_name": "Wrentit", "scientific_name": "C. f.", "license": "BY-NC-SA"}
    data = tmp_path / "audio/data/app_data.json"
    data.parent.mkdir(parents=True)
    data.write_text(json.dumps({"C. f.": [row]}))
    labels = birds.fields_of("audio/data/processed/12.mp3", birds.read_table(tmp_path))
    assert (labels["label"], labels["license"]) == ("Wrentit", "BY-NC-SA")


def test_a_missing_table_says_what_to_check_out(tmp_path):
    with pytest.raises(ManifestError, match="Picovoice/speech-to-intent-benchmark"):
        source_named("coffee_orders_en").read_table(tmp_path)


def test_every_row_is_tested_on_a_real_path():
    with_table = {name for name, source in shipped_sources().items() if source.table is not None}
    assert {name for name, _, _ in REAL_PATHS} | with_table == set(shipped_sources())


def test_what_is_left_out_for_its_source_is_a_file_that_the_row_takes():
    for source in shipped_sources().values():
        for path in source.leave_out:
            assert source.fields_of(path.partition("#")[0], {}) is not None, f"{source.name}: {path}"


def test_a_broken_row_is_refused():
    row = {
        "repository": "a/b", "commit": "0" * 40, "licence": "CC0", "clear_terms": True, "verified": "nothing",
        "files": [{"path": "(", "fields": {}}],
        "corpus": {"domain": "sound", "tasks": {"domain": {"constant": "sound"}}},
    }  # fmt: skip
    with pytest.raises(ManifestError, match="regular expression"):
        parse_source(row, name="x")
    with pytest.raises(ManifestError, match="cleaners"):
        parse_source({**row, "files": [{"path": "x", "fields": {"a": {"template": "b", "clean": "no"}}}]}, name="x")
    with pytest.raises(ManifestError, match="more"):
        parse_source({**row, "files": [], "more": 1}, name="x")
    with pytest.raises(ManifestError, match="no public corpus"):
        source_named("nowhere")
