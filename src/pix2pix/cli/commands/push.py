"""`pix2pix push`: publish a model on the Hugging Face hub."""

from typing import Annotated

from cyclopts import Parameter

from pix2pix.cli.console import say


def push(
    model: str,
    hub_id: str,
    /,
    *,
    private: Annotated[bool, Parameter(negative=())] = False,
    token: str | None = None,
    message: str | None = None,
    license: str | None = None,
    discriminator: bool = True,
    samples: bool = True,
) -> None:
    """Publish a model on the Hugging Face hub: weights, configuration, model card, and a model.onnx.

    Nothing else in the folder is sent. All files arrive in one commit, or none does. The same command again updates the
    repository. The card is made anew with the evaluations of these weights, unless somebody edited it.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    hub_id
        Repository to publish as, owner/name. It is made if it is not there.
    private
        Make a new repository private.
    token
        Access token with write permission; by default HF_TOKEN, or that of `hf auth login`.
    message
        Message of the commit.
    license
        Licence that the card states, such as mit, apache-2.0 or cc-by-4.0; by default that of the training.
    discriminator
        Publish the discriminator too, which `evaluate` and `train --from` use.
    samples
        Publish the picture of the card, which shows images of the validation split.
    """
    from pix2pix.model.push import push as carry_out

    done = carry_out(
        model,
        hub_id,
        private=private,
        token=token,
        message=message,
        license=license,
        discriminator=discriminator,
        samples=samples,
    )
    for note in done.notes:
        say(f"note: {note}")
    what = f"{'updated' if done.updated else 'published'}, {'private' if done.private else 'public'}"
    say(f"{what}: {', '.join(done.files)}")
    print(done.url)
