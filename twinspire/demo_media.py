"""The tour of media: pictures found by texts and pictures, music found by music."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinspire.child_server import child_server
from twinspire.client import Client
from twinspire.hits import result_json, show_result
from twinspire.progress import ProgressDisplay
from twinspire.queries import SearchQuery
from twinspire.tour import Tour

if TYPE_CHECKING:
    from retrieval.workspace import Workspace

PICTURES, MUSIC = "emoji", "music"
IMAGE_ENCODER, TEXT_ENCODER, AUDIO_ENCODER = "mobilenet", "minilm", "whisper"
PROJECTION, FUSION = "emoji-text", "music-fusion"
LABELS, GROUPS = "composer", "work"
TEXTS = ("something cold to eat in summer", "an animal that lives in the sea", "music and dancing")
PICTURE = "1f436.webp"  # the face of a dog
HITS_SHOWN = 5
WEIGHTS_FILE = "layer-weights.html"


@dataclass(slots=True)
class MediaDemo(Tour):
    """One run of the tour of media; what an earlier run left is used again."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = 5

    def run(self) -> None:
        """Do all of it."""
        with self.step("fetch", "Fetching pictures with their names, scores of music to play, and encoders"):
            pictures, music = self._fetch()
        with self.step("import", "Importing both folders"):
            self._import(PICTURES, pictures)
            self._import(MUSIC, music)
        with self.step("pictures", "Training pictures and names into one space, and indexing the pictures"):
            self._train_projection()
            self._tell_of(PROJECTION)
            self._index(PICTURES, PROJECTION)
        with self.step("music", "Training a fusion of an audio model's layers, and indexing the music"):
            self._train_fusion()
            self._tell_of(FUSION)
            self._tell_of_plot()
            self._index(MUSIC, FUSION)
        with self.step("serve", "Starting the server, and asking it by text, by picture and by sound"):
            self._ask(pictures, music)

    def _fetch(self) -> tuple[Path, Path]:
        from encoders.pretrained.adding import add_encoder
        from indexer.assets import minilm
        from indexer.media_assets import emoji
        from indexer.model_assets import mobilenet, whisper
        from indexer.music_corpus import music_corpus

        workspace = self.session.workspace(create=True)
        with ProgressDisplay() as progress:
            folders = emoji(progress), music_corpus(progress)
            models = {
                IMAGE_ENCODER: mobilenet(progress),
                TEXT_ENCODER: minilm(progress),
                AUDIO_ENCODER: whisper(progress),
            }
        for name, folder in models.items():
            card = add_encoder(workspace, name, folder)
            self.tell(f"{name}: takes {', '.join(card.modalities)}, {card.dims}-wide vectors")
        return folders

    def _import(self, collection: str, folder: Path) -> None:
        from indexer.folder_import import import_folder

        with ProgressDisplay() as progress:
            report = import_folder(self.session.workspace(), collection, folder, on_progress=progress)
        self.tell(f"{collection}: {report.inserted:,} new files, {report.unchanged:,} known ones")

    def _train_projection(self) -> None:
        from encoders.training.pairs import PairSource
        from encoders.training.projection import train_projection
        from encoders.training.projection_config import ProjectionConfig
        from retrieval.content import Modality
        from twinspire.layer_fusion import FusionDisplay
        from twinspire.projection import backbone, encode_missing, show_report

        workspace = self.session.workspace()
        if _is_there(workspace, PROJECTION):
            return
        media, text = backbone(workspace, IMAGE_ENCODER), backbone(workspace, TEXT_ENCODER)
        with ProgressDisplay() as progress:
            encode_missing(workspace, PICTURES, media, progress)
            report = train_projection(
                workspace,
                PICTURES,
                ProjectionConfig(),
                PairSource(modality=Modality.IMAGE),
                name=PROJECTION,
                media=media,
                text=text,
                on_progress=FusionDisplay(progress),
            )
        if not self.console.quiet:
            show_report(report)

    def _train_fusion(self) -> None:
        from encoders.training.belonging import Belonging
        from encoders.training.fusion_config import LayerFusionConfig
        from encoders.training.layer_fusion import train_layer_fusion
        from evaluation.fusion_report import write_fusion_report
        from twinspire.layer_fusion import FusionDisplay, compared, layered_encoder, make_features, show

        workspace = self.session.workspace()
        if _is_there(workspace, FUSION):
            return
        belonging = Belonging(labels=LABELS, pairs=(), group_by=GROUPS)
        encoder, folder = layered_encoder(workspace, AUDIO_ENCODER)
        with ProgressDisplay() as progress:
            make_features(workspace, MUSIC, encoder, belonging, progress)
            report = train_layer_fusion(
                workspace,
                MUSIC,
                LayerFusionConfig(),
                belonging,
                name=FUSION,
                backbone=encoder,
                backbone_folder=folder,
                on_progress=FusionDisplay(progress),
            )
        told = compared(workspace, MUSIC, report, belonging)
        write_fusion_report(told, self.session.root / WEIGHTS_FILE)
        if not self.console.quiet:
            show(told)

    def _tell_of(self, name: str) -> None:
        from retrieval.registry import find_model

        model = find_model(self.session.workspace(), name)
        self.metrics[name] = dict(model.metrics)
        self.tell(f"{model.reference} is there")

    def _tell_of_plot(self) -> None:
        plot = self.session.root / WEIGHTS_FILE
        if plot.exists():
            self.tell(f"which layers it listens to, for a browser: {plot}")

    def _index(self, collection: str, model: str) -> None:
        from indexer.indexing import index_collection
        from twinspire.commands.index import in_words

        with ProgressDisplay() as progress:
            report = index_collection(self.session.workspace(), collection, model, on_progress=progress)
        self.tell(in_words(report))

    def _ask(self, pictures: Path, music: Path) -> None:
        from retrieval.items import list_items

        song = list_items(self.session.workspace(), MUSIC, limit=1)[0].id
        asked = [(PICTURES, text, SearchQuery(text=text, limit=HITS_SHOWN)) for text in TEXTS]
        picture = SearchQuery(image=pictures / PICTURE, limit=HITS_SHOWN)
        sound = SearchQuery(audio=music / song, limit=HITS_SHOWN)
        asked += [(PICTURES, f"the picture {PICTURE}", picture), (MUSIC, f"the music {song}", sound)]
        with child_server(self.session.root) as target, Client(target) as client:
            client.wait_until_ready()
            for collection, told, query in asked:
                result = client.search(collection, query, timeout_s=60)
                self.answers.append(result_json(told, result))
                show_result(self.console, told, result)


def _is_there(workspace: "Workspace", name: str) -> bool:
    from retrieval.errors import ModelNotFound
    from retrieval.registry import find_model

    try:
        find_model(workspace, name)
    except ModelNotFound:
        return False
    return True


def next_steps(root: str) -> str:
    """Tell what to try after the tour."""
    program = f"twinspire --workspace {root}"
    tries = (
        ("ask for pictures yourself", f'search "a good idea" --collection {PICTURES}'),
        ("by a picture of your own", f"search @FILE.jpg --collection {PICTURES}"),
        (
            "what each layer knows of the music",
            f"probe {MUSIC} --features {AUDIO_ENCODER} --group-by {GROUPS}",
        ),
        ("find moments in long recordings", f"index {MUSIC} --encoder {FUSION} --windows 5s"),
        ("your own files", "import folder DIRECTORY --collection NAME"),
    )
    lines = [f"  {what}:\n    {program} {command}" for what, command in tries]
    return "What to try next\n" + "\n".join(lines)
