#!/usr/bin/env python3
"""Starting, stopping, dying and coming back."""

import asyncio
import datetime
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin
import tls


class Options(lab.LabCase):
    PROGRAMS = ("sallyport-gateway", "sallyport-agent")

    def setUp(self):
        super().setUp()
        self.lab.gateway_config["listen"] = ["127.0.0.1:0"]
        self.lab.save()
        self.configs = dict(zip(self.PROGRAMS, (self.lab.file("gateway.json"),
                                                self.lab.file("agent.json"))))

    def test_version_and_help_go_to_stdout_with_status_0(self):
        for name in self.PROGRAMS:
            with self.subTest(name):
                done = lab.run(lab.program(name), "--version")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertRegex(done.stdout, r"^%s \d+\.\d+\.\d+\n$" % name)
                done = lab.run(lab.program(name), "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                for option in ("--config", "--check", "--version", "--help"):
                    self.assertIn(option, done.stdout)

    def test_the_help_of_a_program_leads_to_that_of_its_commands(self):
        for name, commands in zip(self.PROGRAMS,
                                  (("explain",), ("diagnose", "route", "rules", "status"))):
            said = lab.run(lab.program(name), "--help").stdout
            for command in commands:
                with self.subTest(name, command=command):
                    self.assertRegex(said, r"(?m)^  %s +\w" % command)
                    done = lab.run(lab.program(name), command, "--help")
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertIn("usage: %s %s " % (name, command), done.stdout)

    def test_wrong_usage_is_status_2_on_stderr(self):
        for name in self.PROGRAMS:
            for args in ((), ("--nonsense",), ("--config",), ("--check",),
                         ("--config", self.configs[name], "more")):
                with self.subTest(name, args=args):
                    done = lab.run(lab.program(name), *args)
                    self.assertEqual((done.returncode, done.stdout), (2, ""))
                    self.assertTrue(done.stderr)

    def test_check_of_a_good_configuration_is_status_0_and_starts_nothing(self):
        for name in self.PROGRAMS:
            with self.subTest(name):
                done = lab.run(lab.program(name), "--config", self.configs[name], "--check")
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_check_opens_no_listener(self):
        """With its address taken by another, a start would fail; --check does not care."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.lab.gateway_config["listen"] = ["%s:%d" % taken.getsockname()]
            self.lab.agent_config["doors"][0]["listen"] = "%s:%d" % taken.getsockname()
            self.lab.save()
            for name in self.PROGRAMS:
                with self.subTest(name):
                    done = lab.run(lab.program(name), "--config", self.configs[name], "--check")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    done = lab.run(lab.program(name), "--config", self.configs[name])
                    self.assertEqual(done.returncode, 1, done.stderr)
                    self.assertIn("%d" % taken.getsockname()[1], done.stderr)

    def test_check_loads_every_key(self):
        for name, key in ((self.PROGRAMS[0], self.lab.file("server", "common.key")),
                          (self.PROGRAMS[1], self.lab.file("clients", "acme-alice.key"))):
            with self.subTest(name):
                os.rename(key, key + ".away")
                done = lab.run(lab.program(name), "--config", self.configs[name], "--check")
                os.rename(key + ".away", key)
                self.assertEqual(done.returncode, 2)
                self.assertIn(os.path.basename(key), done.stderr)

    def test_a_missing_configuration_is_status_2(self):
        for name in self.PROGRAMS:
            with self.subTest(name):
                done = lab.run(lab.program(name), "--config", self.lab.file("nowhere.json"))
                self.assertEqual(done.returncode, 2)
                self.assertIn("nowhere.json", done.stderr)

    def test_paths_are_relative_to_the_file_that_names_them(self):
        for name in self.PROGRAMS:
            with self.subTest(name):
                done = lab.run(lab.program(name), "--config",
                               os.path.relpath(self.configs[name], "/"), "--check", cwd="/")
                self.assertEqual(done.returncode, 0, done.stderr)


class Ready(lab.LabCase):
    def test_the_laboratory_runs_as_it_is_and_ready_names_the_bound_addresses(self):
        self.lab.gateway_config["listen"] = ["127.0.0.1:0", "127.0.0.2:0"]
        self.lab.agent_config["doors"].append(
            {"type": "forward", "listen": "127.0.0.1:0", "to": "127.0.0.1:9"})
        self.lab.start()
        self.assertEqual(len(self.lab.listen), 2)
        self.assertEqual([a[0] for a in self.lab.listen], ["127.0.0.1", "127.0.0.2"])
        self.assertEqual(len(self.lab.doors), 2)
        for address in self.lab.listen + self.lab.doors:
            self.assertNotEqual(address[1], 0)
            try:
                lab.connect(address).close()
            except ConnectionResetError:
                pass  # nobody listens at the destination of the forward door

    def test_every_log_line_is_json_with_time_level_and_event(self):
        self.lab.start()
        for program in (self.lab.gateway, self.lab.agent):
            self.assertEqual(program.complaints(), [])
            for event in program.events:
                self.assertEqual(list(event)[:3], ["ts", "level", "event"])

    def test_text_format_is_for_people_and_default_is_json_when_piped(self):
        self.lab.gateway_config["log"] = {"level": "info", "format": "text"}
        self.lab.save()
        program = lab.Program("sallyport-gateway", "--config", self.lab.file("gateway.json"))
        self.addCleanup(program.kill)
        lab.until(lambda: program.lines, what="a line")
        self.assertRegex(program.lines[0], r"^\d\d:\d\d:\d\d\.\d{3} \w+ +ready ")
        program.signal(signal.SIGTERM)
        self.assertEqual(program.wait_exit(), 0)
        self.lab.gateway_config["log"] = {"level": "info"}
        self.lab.start_gateway()

    def test_on_a_terminal_the_default_is_text(self):
        self.lab.gateway_config["log"] = {"level": "info"}
        self.lab.save()
        ours, theirs = os.openpty()
        program = subprocess.Popen([lab.program("sallyport-gateway"), "--config",
                                    self.lab.file("gateway.json")], stdin=subprocess.DEVNULL,
                                   stdout=theirs, stderr=theirs, env=lab.environment())
        os.close(theirs)
        shown = b""
        try:
            while b"ready" not in shown:
                shown += os.read(ours, 4096)
        finally:
            program.send_signal(signal.SIGTERM)
            status = program.wait(15 * lab.SLOW)
            os.close(ours)
        self.assertEqual(status, 0)
        self.assertNotIn(b"{", shown.split(b"ready")[0])

    def test_a_log_on_a_full_disk_stops_nothing(self):
        self.lab.gateway_config["log"] = {"level": "debug", "format": "json",
                                          "file": "/dev/full"}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = probe.getsockname()
        self.lab.gateway_config["listen"] = ["%s:%d" % address]
        self.lab.save()
        program = lab.Program("sallyport-gateway", "--config", self.lab.file("gateway.json"))
        self.addCleanup(program.kill)
        name, ctx = self.lab.name_of(self.lab.a), tls.context(self.lab.client(self.lab.a))

        def answered():
            try:
                return tls.verdict(address, name, ctx)
            except ConnectionRefusedError:
                return None
        self.assertEqual(lab.until(answered, what="the gateway listens"), "ok")
        for _ in range(20):
            self.assertEqual(tls.verdict(address, name, ctx), "ok")
        program.signal(signal.SIGTERM)
        self.assertEqual(program.wait_exit(), 0)

    def test_no_key_ever_reaches_a_log_or_a_core(self):
        self.lab.start()
        for program in (self.lab.gateway, self.lab.agent):
            text = "\n".join(program.all_lines())
            self.assertNotIn("PRIVATE KEY", text)
            limits = open("/proc/%d/limits" % program.pid, encoding="ascii").read()
            self.assertRegex(limits, r"Max core file size +0 +0|Max core file size +0 ")
            # PR_SET_DUMPABLE 0 hands the process's files in /proc to root.
            self.assertEqual(os.stat("/proc/%d/mem" % program.pid).st_uid, 0)

    def test_workers_are_as_many_as_configured_and_share_the_address(self):
        self.lab.gateway_config["workers"] = 3
        self.lab.start_gateway()
        with open("/proc/net/tcp", encoding="ascii") as table:
            listening = [line for line in table
                         if line.split()[1] == "0100007F:%04X" % self.lab.address[1]
                         and line.split()[3] == "0A"]
        self.assertEqual(len(listening), 3)
        self.assertGreaterEqual(len(os.listdir("/proc/%d/task" % self.lab.gateway.pid)), 3)

    def test_the_table_of_descriptors_need_not_grow_while_it_runs(self):
        """Growing it holds up every thread that opens one, for 10 ms and more."""
        self.lab.start()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        for program, wanted in ((self.lab.gateway, 65536), (self.lab.agent, 4096)):
            status = open("/proc/%d/status" % program.pid, encoding="ascii").read()
            room = int(re.search(r"FDSize:\s+(\d+)", status).group(1))
            self.assertGreaterEqual(room, min(wanted, most))

    def test_tunnels_that_live_for_long_are_spread_evenly_over_the_workers(self):
        self.lab.gateway_config["workers"] = 3
        self.lab.start_gateway()
        name, ctx = self.lab.name_of(self.lab.a), tls.context(self.lab.client(self.lab.a))
        for count in range(1, 25):  # one after the other, as agents come
            client = tls.Client(self.lab.address, name, ctx)
            self.addCleanup(client.close)
            up = self.lab.gateway.wait_count("tunnel", count)
        workers = [event.tunnel.split("-")[0] for event in up]
        self.assertEqual({w: workers.count(w) for w in workers}, {"0": 8, "1": 8, "2": 8})


class Stopping(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))

    def channel(self):
        sock = lab.connect(self.lab.doors[0])
        self.addCleanup(sock.close)
        sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (self.echo, self.echo)).encode())
        self.assertIn(b" 200 ", sock.recv(4096))
        return sock

    def talk(self, sock):
        sock.sendall(b"hello")
        self.assertEqual(sock.recv(100), b"hello")

    def test_sigterm_lets_what_is_open_finish_and_takes_nothing_new(self):
        self.lab.agent_config["tunnels"] = 1
        self.lab.start()
        sock = self.channel()
        mark = self.lab.gateway.mark(), self.lab.agent.mark()
        self.lab.gateway.signal(signal.SIGTERM)
        self.lab.gateway.wait("draining", since=mark[0])
        self.talk(sock)

        def refused():
            try:
                lab.connect(self.lab.address).close()
            except ConnectionRefusedError:
                return True
            return False
        lab.until(refused, what="the listener closes")
        self.talk(sock)
        self.assertTrue(self.lab.gateway.alive())
        sock.close()
        begun = time.monotonic()
        self.assertEqual(self.lab.gateway.wait_exit(), 0)
        self.assertLess(time.monotonic() - begun, 5 * lab.SLOW)
        self.lab.forget(self.lab.gateway)
        self.assertEqual(self.lab.gateway.all("channel")[-1].how, "done")

    def test_draining_ends_at_its_deadline(self):
        self.lab.gateway_config["limits"] = {"drain_ms": 700}
        self.lab.start()
        self.channel()
        begun = time.monotonic()
        self.lab.gateway.signal(signal.SIGTERM)
        self.assertEqual(self.lab.gateway.wait_exit(), 0)
        self.assertLess(time.monotonic() - begun, 5 * lab.SLOW)
        self.assertGreaterEqual(time.monotonic() - begun, 0.6)
        self.lab.forget(self.lab.gateway)

    def test_a_second_sigterm_ends_it_at_once(self):
        self.lab.start()
        self.channel()
        self.lab.gateway.signal(signal.SIGTERM)
        self.lab.gateway.wait("draining")
        begun = time.monotonic()
        self.lab.gateway.signal(signal.SIGTERM)
        status = self.lab.gateway.wait_exit()
        self.assertLess(time.monotonic() - begun, 3 * lab.SLOW)
        self.assertIn(status, (0, 1))
        self.lab.forget(self.lab.gateway)

    def test_the_agent_drains_as_well(self):
        self.lab.start()
        sock = self.channel()
        self.lab.agent.signal(signal.SIGTERM)
        self.talk(sock)
        sock.close()
        self.assertEqual(self.lab.agent.wait_exit(), 0)
        self.lab.forget(self.lab.agent)

    def test_a_gateway_that_goes_away_in_order_is_left_for_another_without_loss(self):
        """GOAWAY: the open channel goes on over the old tunnel, a new one waits for the next."""
        self.lab.agent_config["tunnels"] = 1
        self.lab.gateway_config["listen"] = ["127.0.0.1:0"]
        self.lab.start()
        old, sock = self.lab.gateway, self.channel()
        self.lab.gateway_config["listen"] = [lab.format_address(self.lab.address)]
        old.signal(signal.SIGTERM)
        old.wait("draining")
        mark = self.lab.agent.mark()
        self.lab.start_gateway()
        self.lab.wait_up(since=mark)
        self.talk(sock)
        self.talk(self.channel())
        sock.close()
        self.assertEqual(old.wait_exit(), 0)
        self.lab.forget(old)


class NoGateway(lab.LabCase):
    """What an application hears while no tunnel is up."""

    def ask(self, timeout=40):
        sock = lab.connect(self.lab.doors[0], timeout)
        with sock:
            begun = time.monotonic()
            sock.sendall(b"CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n")
            head = tls.read_to_end(sock)[0].decode()
        return int(head.split()[1]), head, time.monotonic() - begun

    def test_when_the_gateway_can_not_be_reached_the_reason_is_told(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            self.lab.address = closed.getsockname()
        self.lab.start_agent(wait_up=False)
        status, head, took = self.ask()
        self.assertIn(status, (503, 504))
        self.assertRegex(head, r"(?i)proxy-status: ")
        self.assertRegex(head, r"(?i)refused")
        self.assertLess(took, 30 * lab.SLOW)

    def test_when_the_gateway_refuses_us_the_reason_is_told(self):
        stranger = self.lab.pki.leaf("stranger", self.lab.pki.ca("Stranger"))
        self.lab.agent_config["identity"] = {"certificate": stranger.chain,
                                             "private_key": stranger.key}
        self.lab.start_gateway()
        self.lab.start_agent(wait_up=False)
        self.lab.agent.wait("tunnel_failed")
        status, head, _ = self.ask()
        self.assertIn(status, (503, 504))
        self.assertRegex(head, r"(?i)gateway.*(CA|issue)")

    def test_when_we_refuse_the_gateway_the_reason_is_told(self):
        self.lab.agent_config["server_validation"]["ca_files"] = [self.lab.pki.ca("Other").pem]
        self.lab.start_gateway()
        self.lab.start_agent(wait_up=False)
        self.lab.agent.wait("tunnel", lambda e: e.action == "block")
        status, head, _ = self.ask()
        self.assertIn(status, (503, 504))
        self.assertIn("untrusted_issuer", head)

    def test_an_application_that_comes_too_early_waits_until_the_tunnel_is_up(self):
        with origin.Origin() as server:
            echo = lab.format_address(server.start(origin.echo))
            with socket.create_server(("127.0.0.1", 0)) as reserved:
                self.lab.address = reserved.getsockname()
            self.lab.gateway_config["listen"] = [lab.format_address(self.lab.address)]
            self.lab.start_agent(wait_up=False)
            with lab.connect(self.lab.doors[0], 30) as sock:
                sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (echo, echo)).encode())
                self.lab.start_gateway()
                self.assertIn(b" 200 ", sock.recv(4096))


class Killed(lab.LabCase):
    def test_kill_9_and_restart_under_load_the_agent_recovers_by_itself(self):
        server = origin.Origin()
        self.addCleanup(server.close)
        target = lab.format_address(server.start(origin.duplex))
        self.lab.start()
        self.lab.gateway_config["listen"] = [lab.format_address(self.lab.address)]
        counts = {"done": 0, "cut": 0, "refused": 0}
        stop = threading.Event()

        async def one():
            try:
                reader, writer, head = await asyncio.wait_for(
                    origin.open_connect(self.lab.doors[0], target), 40)
            except (ConnectionError, asyncio.IncompleteReadError):
                counts["cut"] += 1
                return
            try:
                if not head.startswith("HTTP/1.1 200"):
                    counts["refused"] += 1
                    return
                await asyncio.wait_for(origin.duplex_client(reader, writer, 300000, 300000), 40)
                counts["done"] += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                counts["cut"] += 1
            finally:
                writer.close()

        async def load():
            async def worker():
                while not stop.is_set():
                    await one()
            await asyncio.gather(*[worker() for _ in range(16)])

        running = asyncio.run_coroutine_threadsafe(load(), server.loop)
        try:
            lab.until(lambda: counts["done"] > 30, timeout=30, what="channels come through")
            for _ in range(2):
                mark = self.lab.agent.mark()
                killed = self.lab.gateway
                self.assertEqual(killed.kill(), -signal.SIGKILL)
                self.lab.forget(killed)
                lost = self.lab.agent.wait("tunnel_closed", since=mark)
                self.assertTrue(lost.get("error"), lost)
                self.assertIn("cut", lost)
                self.lab.start_gateway()
                self.lab.wait_up(since=mark, timeout=40)
                before = counts["done"]
                lab.until(lambda: counts["done"] > before + 30, timeout=30,
                          what="channels come through again")
        finally:
            stop.set()
        running.result(60 * lab.SLOW)
        self.assertGreater(counts["cut"], 0)
        cut = self.lab.agent.all("channel", lambda e: e.how == "tunnel_lost")
        self.assertTrue(cut, "the log does not say what was cut")

    def test_reconnecting_backs_off(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            self.lab.address = closed.getsockname()
        self.lab.agent_config["tunnels"] = 1
        self.lab.start_agent(wait_up=False)
        tries = self.lab.agent.wait_count("tunnel_failed", 5, timeout=30)
        times = [datetime.datetime.fromisoformat(t.ts.replace("Z", "+00:00")).timestamp()
                 for t in tries]
        delays = [b - a for a, b in zip(times, times[1:])]
        self.assertGreater(delays[3], delays[0] * 1.5, delays)


class Descriptors(lab.LabCase):
    def test_out_of_descriptors_the_gateway_says_so_and_recovers(self):
        self.lab.start_gateway()
        name, ctx = self.lab.name_of(self.lab.a), tls.context(self.lab.client(self.lab.a))
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "ok")
        used = self.lab.gateway.open_files()
        before = resource.prlimit(self.lab.gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.lab.gateway.pid, resource.RLIMIT_NOFILE, (used + 4, before[1]))
        socks = [lab.connect(self.lab.address) for _ in range(20)]
        event = self.lab.gateway.wait("trouble")
        self.assertEqual(event.level, "error")
        self.assertRegex(event.message, "accept.*open files")
        for sock in socks:
            sock.close()
        self.assertEqual(lab.until(lambda: tls.verdict(self.lab.address, name, ctx) == "ok",
                                   what="accepting again"), True)


if __name__ == "__main__":
    lab.main()
