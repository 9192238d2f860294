#!/usr/bin/env python3
"""The agent by itself: applications that wait, requests tried again, gateways that say no, signals."""

import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from datetime import datetime

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin


def free_address():
    """An address that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[:2]


def seconds(event):
    return datetime.fromisoformat(event.ts.replace("Z", "+00:00")).timestamp()


class Application:
    """Asks a door for a channel."""

    def __init__(self, door, target, timeout=30):
        self.sock = lab.connect(door, timeout)
        self.sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target)).encode())

    def answer(self):
        """Status and the whole text, which for 200 ends with the head."""
        text = b""
        while b"\r\n\r\n" not in text:
            more = self.sock.recv(4096)
            if not more:
                return 0, text.decode()
            text += more
        status = int(text.split()[1])
        while status != 200 and (more := self.sock.recv(4096)):
            text += more
        return status, text.decode()

    def close(self):
        self.sock.close()


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.lab.agent_config["tunnels"] = 1
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))

    def agent_at(self, *addresses, **limits):
        """An agent whose gateways are these, wherever the laboratory's own is."""
        self.lab.agent_config["limits"] = limits
        self.lab.agent_config["gateways"] = [lab.format_address(a) for a in addresses]
        self.lab.save()
        self.lab.agent = lab.Program("sallyport-agent", "--config", self.lab.file("agent.json"))
        self.lab.programs.append(self.lab.agent)
        ready = self.lab.agent.wait("ready", timeout=20)
        self.lab.doors = [lab.parse_address(d.split("=", 1)[1]) for d in ready["doors"]]
        return self.lab.agent

    def ask(self, target=None):
        app = Application(self.lab.doors[0], target or self.echo)
        self.addCleanup(app.close)
        return app

    def hup(self, expect_ok=True):
        self.lab.save()
        mark = self.lab.agent.mark()
        self.lab.agent.signal(signal.SIGHUP)
        event = self.lab.agent.wait("reload", since=mark)
        self.assertEqual(event.ok, expect_ok, event)
        return event

    def check_echo(self, app):
        app.sock.sendall(b"still there?")
        self.assertEqual(app.sock.recv(100), b"still there?")


class Waiting(Case):
    def test_an_application_waits_no_longer_than_configured_and_is_told_the_reason(self):
        dead = free_address()
        self.agent_at(dead, wait_ms=700)
        begun = time.monotonic()
        status, text = self.ask().answer()
        took = time.monotonic() - begun
        self.assertEqual(status, 503)
        self.assertGreaterEqual(took, 0.6)
        self.assertLess(took, 5 * lab.SLOW)
        self.assertIn("%s:%d: Connection refused" % dead, text)
        self.assertIn("Proxy-Status: sallyport-agent; error=", text)

    def test_a_gateway_that_never_answers_is_504_with_the_time(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.agent_at(silent.getsockname()[:2], wait_ms=300)
            status, text = self.ask().answer()
            self.assertEqual(status, 504)
            self.assertIn("error=connection_timeout", text)
            self.assertIn("within 300 ms", text)

    def test_while_somebody_waits_no_attempt_is_put_off_for_long(self):
        agent = self.agent_at(free_address(), wait_ms=60000)
        agent.wait_count("tunnel_failed", 6, timeout=30)  # the next pauses are 2, 4, 8 seconds
        mark = agent.mark()
        app = self.ask()
        failed = agent.wait_count("tunnel_failed", 4, since=mark, timeout=20)
        self.assertLess(seconds(failed[3]) - seconds(failed[0]), 5 * lab.SLOW)
        app.close()

    def test_what_waits_at_a_reload_goes_by_the_new_configuration(self):
        self.lab.start_gateway()
        agent = self.agent_at(free_address(), wait_ms=20000)
        app = self.ask()
        agent.wait_count("tunnel_failed", 3)
        self.lab.agent_config["gateways"] = [lab.format_address(self.lab.address)]
        self.hup()
        self.assertEqual(app.answer()[0], 200)
        self.check_echo(app)

    def test_sigterm_while_an_application_waits_lets_it_have_its_answer(self):
        agent = self.agent_at(free_address(), wait_ms=1500)
        app = self.ask()
        lab.wait_taken(app.sock)
        agent.signal(signal.SIGTERM)
        self.assertEqual(app.answer()[0], 503)
        self.assertEqual(agent.wait_exit(), 0)
        self.lab.forget(agent)

    def test_the_last_that_waits_after_sigterm_is_refused_and_the_agent_ends_in_order(self):
        # A forward door has nothing to say: the refusal closes the last client, and with it all.
        self.lab.agent_config["doors"] = [{"type": "forward", "listen": "127.0.0.1:0",
                                           "to": self.echo}]
        agent = self.agent_at(free_address(), wait_ms=1500)
        agent.wait("tunnel_failed")
        app = lab.connect(self.lab.doors[0])
        self.addCleanup(app.close)
        lab.wait_taken(app)
        agent.signal(signal.SIGTERM)
        self.assertEqual(agent.wait_exit(), 0)
        self.assertEqual(agent.all("channel")[0].how, "refused")
        self.lab.forget(agent)

    def test_two_sigterms_while_an_application_waits_end_it_at_once_with_a_line(self):
        agent = self.agent_at(free_address(), wait_ms=60000)
        lab.wait_taken(self.ask().sock)
        agent.signal(signal.SIGTERM)
        agent.wait("draining")
        begun = time.monotonic()
        agent.signal(signal.SIGTERM)
        self.assertEqual(agent.wait_exit(), 0)
        self.assertLess(time.monotonic() - begun, 2 * lab.SLOW)
        channel = agent.all("channel")[0]
        self.assertEqual((channel.how, channel.status, channel.destination),
                         ("refused", 503, self.echo))
        self.lab.forget(agent)

    def test_a_connection_that_never_asked_for_anything_does_not_hold_the_end_up(self):
        self.lab.start()
        silent = lab.connect(self.lab.doors[0])
        self.addCleanup(silent.close)
        self.assertEqual(self.ask().answer()[0], 200)  # so silent has been accepted, too
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)
        self.lab.agent.signal(signal.SIGTERM)
        self.lab.agent.wait("draining")
        self.assertEqual(silent.recv(1), b"")
        self.check_echo(app)


class Gateways(Case):
    def test_a_dead_gateway_is_passed_over_for_the_next_one(self):
        self.lab.start_gateway()
        agent = self.agent_at(free_address(), self.lab.address)
        begun = time.monotonic()
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)
        self.assertLess(time.monotonic() - begun, 3 * lab.SLOW)
        self.assertEqual(agent.wait("tunnel").gateway, lab.format_address(self.lab.address))
        self.assertRegex(agent.wait("tunnel_failed").error, "refused")

    def test_a_name_that_does_not_resolve_is_said_so(self):
        self.lab.agent_config["limits"] = {"wait_ms": 500}
        agent = self.agent_at(("no-such-gateway.invalid", 443), wait_ms=500)
        failed = agent.wait("tunnel_failed")
        self.assertRegex(failed.error, r"no-such-gateway\.invalid: ")
        status, text = self.ask().answer()
        self.assertEqual(status, 503)
        self.assertRegex(text, "error=dns_error|error=destination_unavailable")

    def test_a_gateway_that_falls_silent_after_the_handshake_meets_the_deadline(self):
        self.lab.save()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.lab.file("server", "c123456.pem"),
                                self.lab.file("server", "c123456.key"))
        context.set_alpn_protocols(["h2"])
        with socket.create_server(("127.0.0.1", 0)) as server:
            agent = self.agent_at(server.getsockname()[:2], handshake_ms=500, wait_ms=20000)
            app = self.ask()
            with context.wrap_socket(server.accept()[0], server_side=True) as sock:
                failed = agent.wait("tunnel_failed", timeout=5)
                self.assertRegex(failed.error, "has not begun to speak HTTP/2 within 500 ms")
                del sock
            app.close()

    def test_a_gateway_that_closes_early_is_said_to_have_done_so(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            agent = self.agent_at(server.getsockname()[:2])
            sock = server.accept()[0]
            sock.recv(4096)
            sock.shutdown(socket.SHUT_WR)
            failed = agent.wait("tunnel_failed")
            sock.close()
            self.assertRegex(failed.error, "before the tunnel was up")

    def test_a_name_that_no_tenant_has_is_named_where_the_refusal_is(self):
        self.lab.agent_config["server_name"] = "c999.secure.example.net"
        self.lab.start_gateway()
        failed = self.agent_at(self.lab.address).wait("tunnel_failed")
        self.assertEqual((failed.alert, failed.sni),
                         ("unrecognized_name", "c999.secure.example.net"))

    def test_a_gateway_without_tls_is_a_protocol_error_not_a_certificates(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            def serve():
                try:
                    while True:
                        sock, _ = server.accept()
                        sock.recv(4096)
                        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        sock.close()
                except OSError:
                    pass
            threading.Thread(target=serve, daemon=True).start()
            agent = self.agent_at(server.getsockname()[:2], wait_ms=500)
            tunnel = agent.wait("tunnel")
            self.assertEqual(tunnel.reason, "not_tls")
            self.assertNotIn("tls", tunnel)
            self.assertNotIn("cipher", tunnel)
            status, text = self.ask().answer()
            self.assertEqual(status, 503)
            self.assertIn("error=tls_protocol_error", text)
            server.shutdown(socket.SHUT_RDWR)

    def test_a_full_tenant_is_told_in_the_gateways_words_and_not_stormed(self):
        self.lab.tenants[self.lab.a]["limits"] = {"tunnels": 1}
        self.lab.agent_config["tunnels"] = 2
        self.lab.start()
        closed = self.lab.agent.wait_count(
            "tunnel_closed", 5, lambda e: "limit of 1 tunnels" in e.get("gateway_said", ""))
        self.assertGreater(seconds(closed[4]) - seconds(closed[0]), 0.5)
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)

    def test_a_tunnel_closed_by_a_reload_of_the_gateway_says_why(self):
        self.lab.agent_config["limits"] = {"wait_ms": 500}
        self.lab.start()
        self.lab.tenants[self.lab.a]["enabled"] = False
        self.lab.reload()
        self.assertRegex(self.lab.agent.wait("tunnel_closed").gateway_said, "tenant_disabled")
        self.assertIn("disabled", self.ask().answer()[1])

    def test_a_gateway_that_shuts_down_is_left_with_its_reason(self):
        self.lab.start()
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)
        self.lab.gateway.signal(signal.SIGTERM)
        draining = self.lab.agent.wait("tunnel_draining")
        self.assertIn("shutting down", draining.gateway_said)
        self.assertEqual(draining.channels, 1)
        self.check_echo(app)

    def test_a_second_sigterm_does_not_wait_for_a_tunnel_that_drains(self):
        self.lab.start()
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)
        self.lab.gateway.signal(signal.SIGTERM)
        self.lab.agent.wait("tunnel_draining")
        self.lab.gateway.signal(signal.SIGSTOP)  # it will not take part in any orderly end
        self.addCleanup(self.lab.gateway.signal, signal.SIGCONT)
        self.lab.agent.signal(signal.SIGTERM)
        self.lab.agent.wait("draining")
        begun = time.monotonic()
        self.lab.agent.signal(signal.SIGTERM)
        self.assertEqual(self.lab.agent.wait_exit(), 0)
        self.assertLess(time.monotonic() - begun, 0.8 * lab.SLOW)
        self.lab.forget(self.lab.agent)
        self.lab.gateway.kill()
        self.lab.forget(self.lab.gateway)


class Relay:
    """Between agent and gateway; cut_next(): the next bytes from the agent end the connection."""

    def __init__(self, to):
        self.to = to
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = self.server.getsockname()[:2]
        self.cutting = threading.Event()
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                down, _ = self.server.accept()
                up = socket.create_connection(self.to)
                for sock in (down, up):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                threading.Thread(target=self._pump, args=(down, up, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(up, down, False), daemon=True).start()
        except OSError:
            pass

    def _pump(self, source, sink, from_agent):
        try:
            while data := source.recv(16384):
                if from_agent and self.cutting.is_set():
                    self.cutting.clear()
                    self.cuts += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass
            sock.close()

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


class Retries(Case):
    def test_a_request_whose_tunnel_breaks_before_the_answer_goes_by_another(self):
        self.lab.start_gateway()
        relay = Relay(self.lab.address)
        self.addCleanup(relay.close)
        agent = self.agent_at(relay.address)
        self.lab.wait_up()
        relay.cutting.set()
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)
        self.check_echo(app)
        self.assertEqual(relay.cuts, 1)
        self.assertTrue(agent.wait("tunnel_closed").error)

    def test_one_whose_tunnel_breaks_for_good_is_refused_with_the_reason(self):
        self.lab.start_gateway()
        relay = Relay(self.lab.address)
        self.agent_at(relay.address, wait_ms=700)
        self.lab.wait_up()
        relay.cutting.set()
        relay.close()
        status, text = self.ask().answer()
        self.assertEqual(status, 503)
        self.assertRegex(text, "no tunnel to the gateway: .*refused")


class Requests(Case):
    def test_what_is_wrong_with_a_request_is_told_and_logged(self):
        self.lab.start()
        for request, status, words in (
                (b"CONNECT a.example:88947 HTTP/1.1\r\nHost: a.example\r\n\r\n", 400, "port"),
                (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 421, "own address")):
            with self.subTest(request):
                mark = self.lab.agent.mark()
                with lab.connect(self.lab.doors[0]) as sock:
                    sock.sendall(request)
                    text = b""
                    while more := sock.recv(4096):
                        text += more
                self.assertEqual(int(text.split()[1]), status)
                self.assertIn(b"Proxy-Status: sallyport-agent; error=http_request_error", text)
                line = self.lab.agent.wait("channel", since=mark)
                self.assertEqual((line.how, line.status), ("refused", status))
                self.assertIn(words, line.detail)


class Reloads(Case):
    def test_doors_at_any_port_may_come_by_a_reload(self):
        self.lab.start()
        door = {"type": "http", "listen": "127.0.0.1:0"}
        self.lab.agent_config["doors"] = [door, dict(door), dict(door)]
        self.hup()
        self.assertEqual(self.ask().answer()[0], 200)
        self.lab.agent_config["doors"] = [door]
        self.hup()
        self.assertEqual(self.ask().answer()[0], 200)

    def test_a_door_that_is_only_spelled_differently_stays_open(self):
        self.lab.start_gateway()
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            port = server.getsockname()[1]
        self.lab.agent_config["doors"] = [{"type": "http", "listen": "[::1]:%d" % port}]
        self.lab.start_agent()
        self.lab.agent_config["doors"][0]["listen"] = "[0:0:0:0:0:0:0:1]:%d" % port
        self.hup()
        self.assertEqual(self.ask().answer()[0], 200)

    def test_a_bad_reload_keeps_doors_and_tunnels(self):
        self.lab.start()
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = lab.format_address(taken.getsockname()[:2])
            good = self.lab.agent_config["doors"]
            self.lab.agent_config["doors"] = good + [{"type": "http", "listen": address}]
            self.assertRegex(self.hup(expect_ok=False).error,
                             r"agent\.json: \$\.doors\[1\]\.listen: .*%s.*in use" % address)
        self.lab.agent_config["log"]["file"] = "nowhere/agent.log"
        self.lab.agent_config["doors"] = good + [{"type": "http", "listen": "127.0.0.1:0"}]
        self.assertRegex(self.hup(expect_ok=False).error, r"nowhere/agent\.log.*No such file")
        self.check_echo(app)
        self.assertEqual(self.ask().answer()[0], 200)
        self.assertEqual(self.lab.agent.all("tunnel_closed"), [])

    def test_channels_finish_on_the_old_tunnel_after_a_reload(self):
        self.lab.start()
        app = self.ask()
        self.assertEqual(app.answer()[0], 200)
        mark = self.lab.agent.mark()
        self.hup()
        self.lab.wait_up(since=mark)
        self.check_echo(app)
        app.close()
        self.assertEqual(self.lab.agent.wait("tunnel_closed", since=mark).cut, 0)
        self.assertEqual(self.ask().answer()[0], 200)

    def test_a_reload_while_connecting_is_no_failure(self):
        self.lab.start_gateway()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            agent = self.agent_at(silent.getsockname()[:2], handshake_ms=60000)
            connecting = silent.accept()[0]
            self.addCleanup(connecting.close)
            connecting.recv(1)  # it is in its handshake
            self.lab.agent_config["gateways"] = [lab.format_address(self.lab.address)]
            self.hup()
            self.lab.wait_up()
            self.assertEqual(agent.all("tunnel_failed"), [])


def minds(program, number):
    """Whether it has got so far as to block or catch this signal; or has ended."""
    try:
        with open("/proc/%d/status" % program.pid, encoding="ascii") as status:
            sets = dict(line.split(":\t") for line in status if line.startswith(("SigBlk", "SigCgt")))
    except OSError:
        return True
    return any(int(mask, 16) & 1 << number - 1 for mask in sets.values()) or not sets


class Programs(lab.LabCase):
    """What both programs do when they start and end."""

    def programs(self):
        self.lab.agent_config.setdefault("gateways", ["127.0.0.1:1"])
        return (("sallyport-gateway", "gateway.json", self.lab.gateway_config),
                ("sallyport-agent", "agent.json", self.lab.agent_config))

    def test_a_log_file_that_can_not_be_opened_is_found_by_check_and_by_start_alike(self):
        for program, name, config in self.programs():
            config["log"]["file"] = "nowhere/x.log"
            self.lab.save()
            for more in ((), ("--check",)):
                done = lab.run(lab.program(program), "--config", self.lab.file(name), *more)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertRegex(done.stderr, name.replace(".", r"\.") +
                                 r": \$\.log\.file: .*nowhere/x\.log.*No such file or directory")

    def test_a_file_that_is_far_too_large_is_a_mistake_of_configuration(self):
        for program, name, _ in self.programs():
            self.lab.save()
            with open(self.lab.file(name), "w", encoding="ascii") as out:
                out.truncate(64 << 20)
            done = lab.run(lab.program(program), "--config", self.lab.file(name), "--check")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("is larger than", done.stderr)

    def test_signals_at_any_moment_of_start_and_end_never_kill_it(self):
        for program, name, config in self.programs():
            if program == "sallyport-agent":
                config["limits"] = {"wait_ms": 100}
            self.lab.save()
            for delay in (0.0, 0.01, 0.03, 0.06, 0.1, 0.15):
                with self.subTest(program, delay=delay):
                    one = lab.Program(program, "--config", self.lab.file(name))
                    lab.until(lambda one=one: minds(one, signal.SIGTERM), every=0.001)
                    one.signal(signal.SIGHUP)
                    time.sleep(delay)
                    for _ in range(400):
                        if not one.alive():
                            break
                        one.signal(signal.SIGTERM)
                        one.signal(signal.SIGHUP)
                        time.sleep(0.001)
                    self.assertEqual(one.wait_exit(), 0, one.lines[-5:])


if __name__ == "__main__":
    lab.main()
