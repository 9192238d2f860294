#!/usr/bin/env python3
"""SIGHUP: the new state is taken whole or not at all, and open tunnels are decided again."""

import json
import os
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import lab
import origin
import tls


class Case(lab.LabCase):
    def setUp(self):
        super().setUp()
        self.lab.gateway_config["unknown_server_name"] = "reject"
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        self.echo = lab.format_address(self.origin.start(origin.echo))
        self.clients = {}

    def hold(self, tenant, **spec):
        """An open channel of a client of that tenant."""
        cert = self.lab.client(tenant, **spec)
        client = tls.Client(self.lab.address, self.lab.name_of(tenant), tls.context(cert))
        self.addCleanup(client.close)
        status, head = client.connect(self.echo)
        self.assertEqual(status, 200, head)
        self.talk(client)
        return client

    def talk(self, client):
        client.send(b"still here?")
        self.assertEqual(client.recv(), b"still here?")


class Good(Case):
    def test_a_new_tenant_is_served_and_a_removed_one_is_not(self):
        self.lab.start_gateway()
        third = json.loads(json.dumps(self.lab.tenants[self.lab.b]))
        third["server_names"] = ["third.secure.example.net"]
        third["client_validation"]["trusted_cas"] = [self.lab.ca[self.lab.b].pem]
        third.pop("certificate", None)
        third.pop("private_key", None)
        ctx = tls.context(self.lab.client(self.lab.b))
        name = "third.secure.example.net"
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "unrecognized_name")
        self.lab.tenants["third"] = third
        self.lab.reload()
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "ok")
        del self.lab.tenants["third"]
        os.remove(self.lab.tenant_file("third"))
        self.lab.reload()
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "unrecognized_name")

    def test_a_tunnel_that_no_longer_passes_is_closed_with_its_reason_others_never_notice(self):
        self.lab.start_gateway()
        gone, stays = self.hold(self.lab.a), self.hold(self.lab.b)
        self.lab.tenants[self.lab.a]["client_validation"]["trusted_cas"].remove(
            self.lab.ca[self.lab.a].pem)
        mark = self.lab.gateway.mark()
        self.lab.reload()
        event = self.lab.gateway.wait("tunnel_closed", since=mark)
        self.assertEqual((event.tenant, event.cut), (self.lab.a, 1))
        self.assertIn("untrusted_issuer", event.error)
        decided = self.lab.gateway.wait("tunnel", lambda e: e.tenant == self.lab.a, since=mark)
        self.assertEqual((decided.action, decided.reason), ("block", "untrusted_issuer"))
        _, how = tls.read_to_end(gone.sock)
        self.assertNotEqual(how, "timeout")
        self.talk(stays)
        self.assertEqual(self.lab.gateway.all("tunnel_closed",
                                              lambda e: e.tenant == self.lab.b, mark), [])

    def test_open_tunnels_of_a_disabled_and_of_a_removed_tenant_end(self):
        self.lab.start_gateway()
        for what, change, reason in (
                ("disabled", lambda: self.lab.tenants[self.lab.a].update(enabled=False),
                 "tenant_disabled"),
                ("removed", lambda: (os.remove(self.lab.tenant_file(self.lab.a)),
                                     self.lab.tenants.pop(self.lab.a)), "unknown_server_name")):
            with self.subTest(what):
                before = json.loads(json.dumps(self.lab.tenants[self.lab.a]))
                gone, stays = self.hold(self.lab.a), self.hold(self.lab.b)
                change()
                mark = self.lab.gateway.mark()
                self.lab.reload()
                event = self.lab.gateway.wait("tunnel_closed",
                                              lambda e: e.get("tenant") == self.lab.a, mark)
                self.assertIn(reason, event.error)
                self.assertNotEqual(tls.read_to_end(gone.sock)[1], "timeout")
                self.talk(stays)
                stays.close()
                self.lab.tenants[self.lab.a] = before
                self.lab.reload()

    def test_the_same_client_passes_after_on_failure_becomes_allow(self):
        self.lab.start_gateway()
        name = self.lab.name_of(self.lab.a)
        wrong = tls.context(self.lab.client(self.lab.b))
        self.assertEqual(tls.verdict(self.lab.address, name, wrong), "unknown_ca")
        self.lab.tenants[self.lab.a]["client_validation"]["on_failure"] = "allow"
        self.lab.reload()
        mark = self.lab.gateway.mark()
        self.assertEqual(tls.verdict(self.lab.address, name, wrong), "ok")
        event = self.lab.gateway.wait("tunnel", since=mark)
        self.assertEqual((event.action, event.validate_status),
                         ("allow-unvalidated", "unvalidated"))

    def test_an_unvalidated_tunnel_ends_when_on_failure_becomes_block(self):
        self.lab.tenants[self.lab.a]["client_validation"]["on_failure"] = "allow"
        self.lab.start_gateway()
        gone = self.hold(self.lab.a, issuer=self.lab.ca[self.lab.b])
        stays = self.hold(self.lab.a)
        self.lab.tenants[self.lab.a]["client_validation"]["on_failure"] = "block"
        mark = self.lab.gateway.mark()
        self.lab.reload()
        self.assertIn("untrusted_issuer",
                      self.lab.gateway.wait("tunnel_closed", since=mark).error)
        self.assertNotEqual(tls.read_to_end(gone.sock)[1], "timeout")
        self.talk(stays)

    def test_new_egress_rules_hold_for_new_channels(self):
        self.lab.start()
        self.assertEqual(self.curl_status(), 200)
        self.lab.tenants[self.lab.a]["egress"]["allow"] = ["192.0.2.1:443"]
        self.lab.reload()
        self.assertEqual(self.curl_status(), 403)
        self.lab.tenants[self.lab.a]["egress"]["allow"] = [self.echo]
        self.lab.reload()
        self.assertEqual(self.curl_status(), 200)
        self.assertEqual(len(self.lab.gateway.all("tunnel")), self.lab.agent_config["tunnels"],
                         "the tunnels were not touched")

    def curl_status(self):
        with lab.connect(self.lab.doors[0]) as sock:
            sock.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (self.echo, self.echo))
                         .encode())
            return int(sock.recv(4096).split()[1])

    def test_a_new_certificate_is_served_to_new_tunnels_while_old_ones_go_on(self):
        self.lab.start_gateway()
        name = self.lab.name_of(self.lab.a)
        stays = self.hold(self.lab.a)
        new = self.lab.pki.leaf("renewed", self.lab.pki.ca("Service CA"), eku="serverAuth",
                                dns=[name])
        self.lab.tenants[self.lab.a].update(certificate=new.chain, private_key=new.key)
        self.lab.reload()
        self.assertEqual(tls.served_certificate(self.lab.address, name, tls.context()), new.der())
        self.talk(stays)

    def test_a_listener_comes_and_goes(self):
        self.lab.gateway_config["listen"] = ["127.0.0.1:0"]
        self.lab.start_gateway()
        stays = self.hold(self.lab.a)
        with socket.create_server(("127.0.0.2", 0)) as free:
            extra = free.getsockname()
        self.lab.gateway_config["listen"] = [lab.format_address(self.lab.address),
                                             lab.format_address(extra)]
        self.lab.reload()
        name = self.lab.name_of(self.lab.a)
        ctx = tls.context(self.lab.client(self.lab.a))
        self.assertEqual(tls.verdict(extra, name, ctx), "ok")
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "ok")
        self.lab.gateway_config["listen"] = [lab.format_address(self.lab.address)]
        self.lab.reload()
        with self.assertRaises(ConnectionRefusedError):
            lab.connect(extra).close()
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "ok")
        self.talk(stays)


class Bad(Case):
    def test_a_bad_reload_changes_nothing_and_says_why(self):
        self.lab.start_gateway()
        name = self.lab.name_of(self.lab.a)
        ctx = tls.context(self.lab.client(self.lab.a))
        stays = self.hold(self.lab.a)
        good = json.dumps(self.lab.tenants[self.lab.a])

        def broken(text):
            with open(self.lab.tenant_file(self.lab.a), "w", encoding="utf-8") as out:
                out.write(text)

        no_key = json.loads(good)
        no_key["private_key"] = "nowhere.key"
        unknown = json.loads(good)
        unknown["enabeld"] = False
        for what, text, said in (("syntax", good[:-2], r"%s\.json:\d+:\d+: " % self.lab.a),
                                 ("missing key file", json.dumps(no_key), r"nowhere\.key"),
                                 ("unknown key", json.dumps(unknown), r"\$\.enabeld")):
            with self.subTest(what):
                broken(text)
                event = self.lab.hup(expect_ok=False)
                self.assertRegex(event.error, said)
                self.assertEqual(event.level, "error")
                self.assertEqual(tls.verdict(self.lab.address, name, ctx), "ok")
                self.talk(stays)
        broken(good)
        self.assertTrue(self.lab.hup().ok)
        self.talk(stays)

    def test_one_bad_file_of_many_holds_the_whole_reload_back(self):
        self.lab.start_gateway()
        self.lab.tenants[self.lab.a]["enabled"] = False
        self.lab.save()
        with open(self.lab.tenant_file(self.lab.b), "w", encoding="utf-8") as out:
            out.write("{")
        self.lab.hup(expect_ok=False)
        self.assertEqual(tls.verdict(self.lab.address, self.lab.name_of(self.lab.a),
                                     tls.context(self.lab.client(self.lab.a))), "ok")

    def test_an_address_that_is_taken_holds_the_reload_back(self):
        taken = origin.Nginx._listener("127.0.0.1")
        self.addCleanup(taken.close)
        self.lab.start_gateway()
        self.lab.gateway_config["listen"] = [lab.format_address(self.lab.address),
                                             "%s:%d" % taken.getsockname()]
        event = self.lab.reload(expect_ok=False)
        self.assertIn("%d" % taken.getsockname()[1], event.error)
        self.assertEqual(tls.verdict(self.lab.address, self.lab.name_of(self.lab.a),
                                     tls.context(self.lab.client(self.lab.a))), "ok")


class UnderLoad(Case):
    def test_reloads_under_load_disturb_no_channel(self):
        """For ThreadSanitizer above all: snapshots change while workers read them."""
        self.lab.start()
        target = lab.format_address(self.origin.start(origin.duplex))
        stop = threading.Event()
        failures = []

        async def one():
            reader, writer, head = await origin.open_connect(self.lab.doors[0], target)
            if not head.startswith("HTTP/1.1 200"):
                raise AssertionError(head)
            await origin.duplex_client(reader, writer, 20000, 20000)
            writer.close()

        def load():
            while not stop.is_set():
                try:
                    self.origin.call(one())
                except Exception as error:  # pylint: disable=broad-except
                    failures.append(error)
                    return

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for i in range(15):
                self.lab.tenants[self.lab.b]["enabled"] = bool(i % 2)
                self.lab.tenants[self.lab.a]["limits"] = {"tunnels": 100 + i, "channels": 1000}
                self.lab.reload()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])


class Rotation(Case):
    def test_the_log_file_is_opened_anew_at_sighup(self):
        path = os.path.join(self.lab.folder, "gateway.log")
        self.lab.start_gateway()
        self.lab.gateway_config["log"] = {"level": "info", "format": "json", "file": path}
        self.lab.save()
        self.lab.gateway.signal(signal.SIGHUP)

        def events(file):
            if not os.path.exists(file):
                return []
            with open(file, encoding="utf-8") as lines:
                return [json.loads(line)["event"] for line in lines if line.endswith("\n")]
        lab.until(lambda: "reload" in events(path), what="the log goes to the file")
        self.assertEqual(os.stat(path).st_mode & 0o777 & ~0o640, 0)
        os.rename(path, path + ".1")
        name, ctx = self.lab.name_of(self.lab.a), tls.context(self.lab.client(self.lab.a))
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "ok")
        lab.until(lambda: "tunnel" in events(path + ".1"), what="the old file is still written")
        self.lab.gateway.signal(signal.SIGHUP)
        lab.until(lambda: "reload" in events(path), what="the new file is written")
        self.assertEqual(tls.verdict(self.lab.address, name, ctx), "ok")
        lab.until(lambda: "tunnel" in events(path), what="tunnels go to the new file")

    def test_a_log_file_that_can_not_be_opened_holds_the_reload_back(self):
        self.lab.start_gateway()
        self.lab.gateway_config["log"] = {
            "level": "info", "format": "json",
            "file": os.path.join(self.lab.folder, "no such folder", "gateway.log")}
        self.assertIn("no such folder", self.lab.reload(expect_ok=False).error)


if __name__ == "__main__":
    lab.main()
