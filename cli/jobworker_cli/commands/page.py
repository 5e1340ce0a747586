"""`jw open`: open the page of the agent in the browser, logged in."""

from typing import Annotated

from jobworker_cli import browser, options, output
from jobworker_cli.command import command
from jobworker_cli.declare import Argument, Context, Option
from jobworker_cli.resolve import job_id


@command
def open_(
    ctx: Context,
    job: Annotated[str | None, Argument(metavar="[JOB]", help="A job to show; default: the list of jobs.")] = None,
    print_: Annotated[bool, Option("--print", help="Print the address in place of opening it.")] = False,
    json_: options.Json = False,
) -> None:
    """Open the page of the agent in your browser, logged in as you; it asks for no token."""
    address = ctx.obj.endpoint().address
    page = None if address is None else browser.page_of(address)
    with ctx.obj.blocking() as client:
        place = f"/jobs/{job_id(client, job)}" if job else "/jobs"
        params = {} if page is None else {"origin": page.origin}
        ticket = client.call("auth.ticket", **params)
    # The agent does not know the path that a proxy in front of it removes.
    url = page.url if page is not None and page.below else ticket["url"]
    url = f"{url}#ticket={ticket['ticket']}&to={place}"
    if json_:
        output.show({"url": url, "expires_at": ticket["expires_at"]}, as_json=True)
    elif print_ or not browser.show(url):
        output.emit(url)
        output.note("the address is valid once, for 30 seconds")
    else:
        output.note(f"opened {url.partition('#')[0]} in your browser; `jw open --print` prints an address")
