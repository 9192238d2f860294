"""Transparent doors: what applications connect to is brought to the agent by the very rules that
`sallyport-agent rules` prints, in network namespaces.

    here  (agent, applications)  10.77.0.2, fd77::2 ---- 10.77.0.1, fd77::1  far  (gateway, origins)
                                                         10.88.0.1, fd88::1

The agent runs as root, applications as nobody: rules tell them apart by that.
"""

import encodings.idna  # pylint: disable=unused-import
import os
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
import unittest

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support")
sys.path.insert(0, SUPPORT)
import lab
import netns
import origin

WHY_NOT = netns.why_not()
NOBODY = ("setpriv", "--reuid=65534", "--clear-groups")
V4, V6 = "10.88.0.1", "fd88::1"
DOOR4, DOOR6 = "127.0.0.1:4000", "[::1]:4001"
PAGE = b"hello from afar\n"
NAME = "web.acme.example"


def listen_in(space, address):
    """A listening socket of either family in that namespace."""
    made = []

    def make():
        with open(space.path, "rb") as ns:
            if netns._libc.setns(ns.fileno(), netns.CLONE_NEWNET) != 0:
                return
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        made.append(socket.create_server(address, family=family, backlog=100))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


async def web(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    body = PAGE if b" /big" not in head.split(b"\r\n")[0] else os.urandom(1) * 5000000
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
                 + body)
    await writer.drain()


async def mail(reader, writer):
    """Speaks first."""
    writer.write(b"220 mail ready\r\n")
    line = await reader.readline()
    writer.write(b"250 you said " + line)
    await writer.drain()


async def upload(reader, writer):
    """Answers after the end of what it was sent."""
    data = await reader.read(-1)
    writer.write(b"got %d\n" % len(data))
    await writer.drain()


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Case(lab.LabCase):
    intercept = "redirect"

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix="sallyport-transparent-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.here = netns.Space("here")
        self.addCleanup(self.here.close)
        self.far = netns.Space("far")
        self.addCleanup(self.far.close)
        netns.link(self.here, "eth0", "10.77.0.2/24", self.far, "eth0", "10.77.0.1/24")
        for space, address in ((self.here, "fd77::2/64"), (self.far, "fd77::1/64")):
            space.ip("addr", "add", address, "dev", "eth0", "nodad")
        for address in (V4 + "/32", V6 + "/128"):
            self.far.ip("addr", "add", address, "dev", "lo")
        self.here.ip("route", "add", "default", "via", "10.77.0.1")
        self.here.ip("-6", "route", "add", "default", "via", "fd77::1")
        hosts = self.write("hosts", "127.0.0.1 localhost\n%s %s\n" % (V4, NAME))
        self.far.must("mount", "--bind", hosts, "/etc/hosts")
        self.start_origins()
        self.configure()

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        return path

    def start_origins(self):
        self.origin = origin.Origin()
        self.addCleanup(self.origin.close)
        ca = self.lab.pki.ca("Origin CA")
        leaf = self.lab.pki.leaf("origin", ca, eku="serverAuth", dns=[NAME, "other.example"],
                                 ips=[V4, V6])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(leaf.chain, leaf.key)
        self.ca = os.path.join(self.folder, "ca.pem")
        shutil.copy(ca.pem, self.ca)
        os.chmod(self.ca, 0o644)
        for host in (V4, V6):
            for port, handler, context in ((80, web, None), (443, web, tls), (25, mail, None),
                                           (9, upload, None)):
                self.origin.start(handler, None, None, sock=listen_in(self.far, (host, port)),
                                  ssl=context)

    def configure(self):
        self.lab.gateway_prefix = self.far.prefix
        self.lab.agent_prefix = self.here.prefix
        self.lab.gateway_config["listen"] = ["10.77.0.1:8443"]
        self.lab.tenants[self.lab.a]["egress"]["allow"] = [V4 + ":*", "[%s]:*" % V6]
        self.doors = self.lab.agent_config["doors"] = [
            {"type": "transparent", "listen": door, "intercept": self.intercept}
            for door in (DOOR4, DOOR6)]

    def rules(self, *more):
        done = lab.run(lab.program("sallyport-agent"), "rules", "--config",
                       self.lab.file("agent.json"), *more)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def load_rules(self, *more):
        self.here.nft(self.rules(*more))
        for line in self.rules("--ip", *more).splitlines():
            self.here.must(*line.split())

    def start(self):
        self.lab.start()
        self.load_rules()

    def curl(self, *args, prefix=NOBODY):
        return self.here.run(*prefix, "curl", "--silent", "--show-error", "--cacert", self.ca,
                             "--max-time", str(int(20 * lab.SLOW)), *args, timeout=30)

    def channel(self, since=0, **fields):
        return self.lab.agent.wait("channel", lambda e: fields.items() <= e.items(), since)


class Redirect(Case):
    def test_curl_fetches_by_both_families_what_the_agent_carries(self):
        self.start()
        for host in (V4, "[%s]" % V6):
            for url, port in (("http://%s/" % host, 80), ("https://%s/" % host, 443)):
                with self.subTest(url):
                    mark, far = self.lab.agent.mark(), self.lab.gateway.mark()
                    done = self.curl(url)
                    self.assertEqual(done.stdout.encode(), PAGE, done.stderr)
                    event = self.channel(mark, destination="%s:%d" % (host, port))
                    self.assertEqual(event.door, "transparent")
                    self.assertNotIn("name", event)  # no route asks for one
                    self.lab.gateway.wait("channel", since=far)

    def test_what_the_agents_own_user_connects_to_is_left_alone(self):
        self.start()
        mark = self.lab.agent.mark()
        self.assertEqual(self.curl("http://%s/" % V4, prefix=()).stdout.encode(), PAGE)
        self.assertEqual(self.curl("http://%s/" % V4).stdout.encode(), PAGE)
        self.assertEqual(self.channel(mark).how, "done")
        self.assertEqual(len(self.lab.agent.all("channel", since=mark)), 1)

    def test_rules_can_be_loaded_again_and_taken_back(self):
        self.start()
        self.here.nft(self.rules())
        self.assertEqual(self.here.must("nft", "list", "ruleset").count("chain "),
                         1 if self.intercept == "redirect" else 2)
        self.here.must("nft", "delete", "table", "inet", "sallyport")
        self.assertEqual(self.curl("http://%s/" % V4).stdout.encode(), PAGE)
        self.assertEqual(self.lab.agent.all("channel"), [])

    def test_a_server_that_speaks_first(self):
        self.lab.agent_config["routes"] = [{"host": "*.blocked.example", "via": "block"}]
        self.start()
        for host in ("TCP4:" + V4, "TCP6:[%s]" % V6):
            client = lab.Interactive(*self.here.prefix, *NOBODY, "socat", "-", host + ":25")
            self.addCleanup(client.close)
            self.assertEqual(client.read_until("ready"), "220 mail ready\r\n")
            client.write("hi\r\n")
            self.assertIn("250 you said hi", client.read_until("said hi"))

    def test_a_client_that_ends_its_side_first_is_answered(self):
        self.lab.agent_config["routes"] = [{"host": "*.blocked.example", "via": "block"}]
        self.start()
        for text in ("", "one line\n", "GET / half a head"):
            done = self.here.run(*NOBODY, "socat", "-t20", "-", "TCP4:%s:9" % V4, input=text)
            self.assertEqual(done.stdout, "got %d\n" % len(text), done.stderr)

    def test_a_large_answer_arrives_whole(self):
        self.start()
        done = self.curl("http://%s/big" % V4, "--output", "/dev/null", "--write-out",
                         "%{size_download}")
        self.assertEqual(done.stdout, "5000000")

    def test_nothing_is_left_of_connections_that_have_ended(self):
        self.start()
        for _ in range(3):
            for url in ("http://%s/" % V4, "https://[%s]/" % V6):
                self.assertEqual(self.curl(url).stdout.encode(), PAGE)
        self.lab.agent.wait_count("channel", 6)

        def sockets():
            out = self.here.must("ss", "--tcp", "--numeric", "--all", "--no-header")
            return [line for line in out.splitlines()
                    if line.split()[0] not in ("LISTEN", "TIME-WAIT") and ":8443" not in line]
        lab.until(lambda: not sockets(), what="no socket in between")

    def test_a_connection_to_the_door_itself_is_refused(self):
        self.start()
        for prefix in ((), NOBODY):
            for door in ("TCP4:" + DOOR4, "TCP6:" + DOOR6):
                mark = self.lab.agent.mark()
                self.here.run(*prefix, "socat", "-", door)
                event = self.channel(mark, how="refused")
                self.assertEqual((event.status, event.error), (502, "proxy_loop_detected"))
                self.assertIn("no firewall rule", event.detail)
                self.assertNotIn("destination", event)

    def test_rules_that_catch_the_agent_itself_do_not_make_a_circle(self):
        self.lab.start_gateway()
        self.lab.agent_config["gateways"] = ["10.77.0.1:8443"]
        self.lab.save()
        rules = self.rules("--user", "12345")
        for line in self.rules("--ip").splitlines():
            self.here.must(*line.split())
        exception = "        ip daddr 10.77.0.1 tcp dport 8443 return\n"
        self.assertIn(exception, rules)
        self.here.nft(rules.replace(exception, ""))
        self.lab.start_agent(wait_up=False)
        event = self.channel()
        self.assertEqual((event.how, event.error), ("refused", "proxy_loop_detected"))
        self.assertIn("its destination is the gateway", event.detail)
        self.here.nft(self.rules("--user", "12345"))  # and its exception is enough
        self.lab.wait_up()

    def test_users_of_the_door(self):
        for door in self.doors:
            door["allow_users"] = ["nobody"]
        self.start()
        stranger = ("setpriv", "--reuid=54321", "--clear-groups")
        for host in (V4, "[%s]" % V6):
            self.assertEqual(self.curl("http://%s/" % host).stdout.encode(), PAGE)
            self.assertEqual(self.channel(how="done").uid, 65534)
            mark = self.lab.agent.mark()
            self.assertNotEqual(self.curl("http://%s/" % host, prefix=stranger).returncode, 0)
            event = self.channel(mark, how="refused")
            self.assertEqual((event.status, event.uid), (403, 54321))

    def test_a_reload_lets_open_channels_be(self):
        self.start()
        client = lab.Interactive(*self.here.prefix, *NOBODY, "socat", "-", "TCP4:%s:25" % V4)
        self.addCleanup(client.close)
        client.read_until("ready")
        self.lab.agent.signal(signal.SIGHUP)
        self.assertTrue(self.lab.agent.wait("reload").ok)
        client.write("still here\r\n")
        self.assertIn("still here", client.read_until("here"))
        self.assertEqual(self.curl("http://%s/" % V4).stdout.encode(), PAGE)


class Tproxy(Redirect):
    intercept = "tproxy"


class Names(Case):
    """Routes by host for connections that come with an address alone."""

    def resolved(self, name, *more, port=443):
        scheme = "https" if port == 443 else "http"
        return self.curl("--resolve", "%s:%d:%s" % (name, port, V4), *more,
                         "%s://%s/" % (scheme, name))

    def test_the_name_of_tls_and_of_http_decides_where_a_route_names_hosts(self):
        self.lab.agent_config["routes"] = [{"host": ["other.example"], "via": "block"}]
        self.start()
        for port in (80, 443):
            mark = self.lab.agent.mark()
            self.assertEqual(self.resolved(NAME, port=port).stdout.encode(), PAGE)
            event = self.channel(mark, name=NAME)
            self.assertEqual(event.destination, "%s:%d" % (V4, port))
            mark = self.lab.agent.mark()
            self.assertNotEqual(self.resolved("other.example", port=port).returncode, 0)
            event = self.channel(mark, how="refused")
            self.assertEqual(event.name, "other.example")
            self.assertIn("$.routes[0]", event.rule)

    def test_where_a_name_leads_into_the_tunnel_the_name_is_asked_for(self):
        """10.99.0.1 is an address that the application believes in; at the far side it is none."""
        self.lab.tenants[self.lab.a]["egress"]["allow"] = [V4 + ":*", NAME + ":443"]
        self.lab.agent_config["routes"] = [{"host": "*.acme.example", "via": "tunnel"}]
        self.start()
        done = self.curl("--resolve", NAME + ":443:10.99.0.1", "https://%s/" % NAME)
        self.assertEqual(done.stdout.encode(), PAGE, done.stderr)
        event = self.channel()
        self.assertEqual((event.name, event.destination), (NAME, NAME + ":443"))

    def test_a_route_that_the_address_matches_first_needs_no_name(self):
        self.lab.agent_config["routes"] = [{"cidr": "10.88.0.0/16", "via": "tunnel"},
                                           {"host": NAME, "via": "block"}]
        self.start()
        self.assertEqual(self.resolved(NAME).stdout.encode(), PAGE)
        self.assertNotIn("name", self.channel())

    def test_what_names_nobody_goes_by_its_address(self):
        self.lab.agent_config["routes"] = [{"host": "*", "via": "block"}]
        self.start()
        self.assertEqual(self.curl("https://%s/" % V4).stdout.encode(), PAGE)
        self.assertEqual(self.curl("http://%s/" % V4).stdout.encode(), PAGE)
        for garbage in ("\x16\x03\x01\x00\x04\x01\x00", "\x16garbage", "\x00", "GET \x00"):
            done = self.here.run(*NOBODY, "socat", "-t20", "-", "TCP4:%s:9" % V4, input=garbage)
            self.assertEqual(done.stdout, "got %d\n" % len(garbage.encode()), done.stderr)

    def test_routes_by_user(self):
        self.lab.agent_config["routes"] = [{"user": "nobody", "via": "block"}]
        self.start()
        self.assertNotEqual(self.curl("http://%s/" % V4).returncode, 0)
        self.assertEqual(self.channel().user, "nobody")
        mark = self.lab.agent.mark()
        other = ("setpriv", "--reuid=54321", "--clear-groups")
        self.assertEqual(self.curl("http://%s/" % V4, prefix=other).stdout.encode(), PAGE)
        self.assertEqual(self.channel(mark, how="done").user, "54321")


class Rules(lab.LabCase):
    """What needs no namespace."""

    def rules(self, *args):
        self.lab.agent_config["gateways"] = ["192.0.2.1:8443", "[2001:db8::1]:443"]
        self.lab.save()
        return lab.run(lab.program("sallyport-agent"), "rules", "--config",
                       self.lab.file("agent.json"), *args)

    def test_mistakes_are_named(self):
        transparent = {"type": "transparent"}
        for doors, args, text in (
                ([{"type": "http", "listen": "127.0.0.1:0"}], (), "no door of type \"transparent\""),
                ([transparent | {"listen": "127.0.0.1:0"}], (), "$.doors[0].listen: rules need a port"),
                ([transparent | {"listen": "127.0.0.1:1"}, transparent | {"listen": "127.0.0.1:2"}],
                 (), "$.doors[1].listen: a second transparent door for IPv4, beside $.doors[0]"),
                ([transparent | {"listen": "unix:x"}], (), "firewall rules bring TCP"),
                ([transparent | {"listen": "127.0.0.1:1", "intercept": "magic"}], (),
                 "$.doors[0].intercept: \"magic\" is not one of redirect, tproxy"),
                ([{"type": "http", "listen": "127.0.0.1:1", "intercept": "tproxy"}], (),
                 "$.doors[0].intercept"),
                ([transparent | {"listen": "127.0.0.1:1", "to": "a.example:1"}], (), "$.doors[0].to"),
                ([transparent | {"listen": "127.0.0.1:1"}], ("--user", "no such"), "no user"),
                ([transparent | {"listen": "127.0.0.1:1"}], ("--door", "x"), "has this name"),
                ([transparent | {"listen": "127.0.0.1:1"}], ("more",), "'more' is not an option"),
                ([transparent | {"listen": "127.0.0.1:1"}], ("--what",), "unknown option")):
            with self.subTest(text):
                self.lab.agent_config["doors"] = doors
                done = self.rules(*args)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(text, done.stderr)

    def test_one_of_several_doors_is_chosen_by_its_name(self):
        self.lab.agent_config["doors"] = [
            {"type": "transparent", "listen": "127.0.0.1:4000", "name": "all"},
            {"type": "transparent", "listen": "127.0.0.3:5000", "name": "other"}]
        done = self.rules("--door", "other", "--user", "77")
        self.assertIn("dnat ip to 127.0.0.3:5000", done.stdout)
        self.assertIn("meta skuid 77 return", done.stdout)
        self.assertIn("ip daddr { 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4 } return", done.stdout)
        self.assertIn("ip6 daddr { ::1/128, fe80::/10, ff00::/8 } return", done.stdout)
        self.assertIn("ip daddr 192.0.2.1 tcp dport 8443 return", done.stdout)
        self.assertIn("ip6 daddr 2001:db8::1 tcp dport 443 return", done.stdout)
        self.assertNotIn("4000", done.stdout)
        self.assertNotIn("nfproto ipv6", done.stdout)
        self.assertEqual(self.rules("--door", "other", "--ip").stdout, "")

    def test_help(self):
        done = lab.run(lab.program("sallyport-agent"), "rules", "--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("nft delete table inet sallyport", done.stdout)


if __name__ == "__main__":
    lab.main()
