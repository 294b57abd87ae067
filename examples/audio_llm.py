"""A causal language model of transformers hears: `python examples/audio_llm.py recording.wav "What is heard?"`."""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from uniwhisper.audio.load import read
from uniwhisper.integrations.audio_tower import AudioTower
from uniwhisper.model.weights import packaged_default


def answer(path: str, question: str) -> str:
    tower = AudioTower.from_pretrained()
    lm = AutoModelForCausalLM.from_pretrained(packaged_default() / "lm", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(packaged_default() / "lm")
    with torch.inference_mode():
        audio_BAH, _ = tower(torch.from_numpy(read(path))[None])
        asked_BL = tokenizer(question + "\n", add_special_tokens=False, return_tensors="pt").input_ids
        inputs_BLH = torch.cat([audio_BAH, lm.get_input_embeddings()(asked_BL)], dim=1)
        tokens = lm.generate(inputs_embeds=inputs_BLH, max_new_tokens=40, do_sample=False)
    return tokenizer.decode(tokens[0], skip_special_tokens=True)


if __name__ == "__main__":
    print(answer(sys.argv[1], sys.argv[2]))
