"""What a gateway tells at /metrics."""

import http.client

from prometheus_client.parser import text_string_to_metric_families

from tests.support.server import GatewayProcess

Samples = dict[str, float]  # by name and, in braces, the label's value: `chatgateway_opened_total{wechat}`


def get(
    gateway: GatewayProcess, path: str = "/metrics", *, method: str = "GET", **headers: str
) -> tuple[int, str, str | None]:
    """Return status, text and content type; headers are named with underscores."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.getheader("Content-Type")
    finally:
        connection.close()


def parse(text: str) -> Samples:
    """Return every sample but the buckets of histograms."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            if "le" not in sample.labels:
                samples[sample.name + "".join(f"{{{value}}}" for value in labels.values())] = sample.value
    return samples


def scrape(gateway: GatewayProcess) -> Samples:
    """Ask for the metrics on a new connection, which any worker may answer."""
    status, text, _ = get(gateway)
    assert status == 200, text
    return parse(text)
