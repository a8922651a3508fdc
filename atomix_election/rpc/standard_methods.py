"""The methods of gRPC's own services, which only a server needs."""

from atomix_election.rpc._generated.grpc.health import v1 as health_v1
from atomix_election.rpc._generated.grpc.reflection import v1 as reflection_v1
from atomix_election.rpc._generated.grpc.reflection import v1alpha as reflection_v1alpha
from atomix_election.rpc.methods import methods_of

HEALTH_METHODS = methods_of(
    "grpc.health.v1.Health",
    Check=(health_v1.HealthCheckRequest, health_v1.HealthCheckResponse),
    List=(health_v1.HealthListRequest, health_v1.HealthListResponse),
    Watch=(health_v1.HealthCheckRequest, health_v1.HealthCheckResponse),
)
"""Each method of ``grpc.health.v1.Health`` by its name."""
REFLECTION_METHOD = methods_of(
    "grpc.reflection.v1.ServerReflection",
    ServerReflectionInfo=(reflection_v1.ServerReflectionRequest, reflection_v1.ServerReflectionResponse),
)["ServerReflectionInfo"]
"""The one method of ``grpc.reflection.v1.ServerReflection``, and
that of its predecessor ``v1alpha``, which many tools still use."""
REFLECTION_ALPHA_METHOD = methods_of(
    "grpc.reflection.v1alpha.ServerReflection",
    ServerReflectionInfo=(reflection_v1alpha.ServerReflectionRequest, reflection_v1alpha.ServerReflectionResponse),
)["ServerReflectionInfo"]
