"""min-dalle's modules, imported without what its import changes in torch's global settings."""

import torch
from rowcast.terminal.install_hints import install_hint

_grad, _threads = torch.is_grad_enabled(), torch.get_num_threads()
try:
    from min_dalle.models import DalleBartDecoder, DalleBartEncoder, VQGanDetokenizer
    from min_dalle.text_tokenizer import TextTokenizer
except ModuleNotFoundError as error:
    if error.name != "min_dalle":
        raise
    raise ModuleNotFoundError(
        f"the peer is not installed: {install_hint('peer')}", name="min_dalle"
    ) from error

torch.set_grad_enabled(_grad)
torch.set_num_threads(_threads)

__all__ = ["DalleBartDecoder", "DalleBartEncoder", "TextTokenizer", "VQGanDetokenizer"]
