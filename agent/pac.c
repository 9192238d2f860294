#include "agent/pac.h"

#include "agent/config.h"
#include "agent/routes.h"

#include <string.h>

/* The language of 1999, which every browser and every other reader of such files knows. */
static const char prologue[] =
    "// The routes of this machine's Sallyport agent. Made for each request; do not keep it.\n"
    "\n"
    "// Bytes of \"192.0.2.1\"; null: it is no such address.\n"
    "function bytes4(text) {\n"
    "  var m = /^(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})$/.exec(text), bytes = [];\n"
    "  for (var i = 1; m && i <= 4; i++) {\n"
    "    if (m[i] > 255 || String(Number(m[i])) !== m[i]) return null;\n"
    "    bytes.push(Number(m[i]));\n"
    "  }\n"
    "  return m ? bytes : null;\n"
    "}\n"
    "\n"
    "// Bytes of \"2001:db8\", a part of an IPv6 address.\n"
    "function groups(text) {\n"
    "  var parts = text === \"\" ? [] : text.split(\":\"), bytes = [];\n"
    "  for (var i = 0; i < parts.length; i++) {\n"
    "    var four = i === parts.length - 1 ? bytes4(parts[i]) : null;\n"
    "    if (four) {\n"
    "      bytes = bytes.concat(four);\n"
    "    } else if (/^[0-9a-f]{1,4}$/.test(parts[i])) {\n"
    "      var value = parseInt(parts[i], 16);\n"
    "      bytes.push(value >> 8, value & 255);\n"
    "    } else {\n"
    "      return null;\n"
    "    }\n"
    "  }\n"
    "  return bytes;\n"
    "}\n"
    "\n"
    "// One that carries an IPv4 address is taken for that one.\n"
    "function bytes6(text) {\n"
    "  var halves = text.split(\"::\");\n"
    "  if (halves.length > 2) return null;\n"
    "  var head = groups(halves[0]), tail = halves.length === 2 ? groups(halves[1]) : [];\n"
    "  if (!head || !tail) return null;\n"
    "  var missing = 16 - head.length - tail.length;\n"
    "  if (halves.length === 1 ? missing !== 0 : missing < 2) return null;\n"
    "  while (missing-- > 0) head.push(0);\n"
    "  var all = head.concat(tail);\n"
    "  for (var i = 0; i < 12; i++) {\n"
    "    if (all[i] !== (i < 10 ? 0 : 255)) return all;\n"
    "  }\n"
    "  return all.slice(12);\n"
    "}\n"
    "\n"
    "function within(address, base, prefix) {\n"
    "  if (!address || address.length !== base.length) return false;\n"
    "  for (var i = 0; i * 8 < prefix; i++) {\n"
    "    var bits = Math.min(8, prefix - i * 8), mask = 256 - (1 << (8 - bits));\n"
    "    if ((address[i] & mask) !== (base[i] & mask)) return false;\n"
    "  }\n"
    "  return true;\n"
    "}\n"
    "\n"
    "function below(name, end) {\n"
    "  return name !== null && name.length > end.length &&\n"
    "         name.substring(name.length - end.length) === end;\n"
    "}\n"
    "\n"
    "// 0: unknown.\n"
    "function portOf(url) {\n"
    "  var known = {http: 80, https: 443, ws: 80, wss: 443, ftp: 21};\n"
    "  var m = /^([a-z][a-z0-9+.-]*):\\/\\/([^\\/?#]*)/.exec(url.toLowerCase());\n"
    "  var n = m && /^(?:[^@]*@)?(?:\\[[^\\]]*\\]|[^:@\\[\\]]*)(?::(\\d{1,5}))?$/.exec(m[2]);\n"
    "  if (!n) return 0;\n"
    "  if (n[1]) return Number(n[1]);\n"
    "  return known.hasOwnProperty(m[1]) ? known[m[1]] : 0;\n"
    "}\n"
    "\n"
    "function FindProxyForURL(url, host) {\n";

/* Whatever is no name and no address as they should be, the agent judges itself. */
static const char reading[] =
    "  host = host.toLowerCase().replace(/^\\[(.*)\\]$/, \"$1\").replace(/\\.$/, \"\");\n"
    "  var address = host.indexOf(\":\") < 0 ? bytes4(host) : bytes6(host);\n"
    "  var name = address ? null : host, port = portOf(url);\n"
    "  if (!port) return agent;\n"
    "  if (!address && (!/^[a-z0-9_-]+(\\.[a-z0-9_-]+)*$/.test(host) ||\n"
    "                   /(^|\\.)(\\d+|0x[0-9a-f]*)$/.test(host))) return agent;\n"
    "\n";

static void put_string(FILE *out, const char *before, const char *text)
{
    fprintf(out, "\"%s", before);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            strchr("._:-", c))
            fputc(c, out);
        else
            fprintf(out, "\\u%04x", c);
    }
    fputc('"', out);
}

/* ---- conditions: each is one "(a || b)" ---- */

static void put_host(FILE *out, const char *pattern)
{
    if (strcmp(pattern, "*") == 0) {
        fputs("name !== null", out);
    } else if (pattern[0] == '*') {
        fputs("below(name, ", out);
        put_string(out, "", pattern + 1);
        fputc(')', out);
    } else {
        fputs("name === ", out);
        put_string(out, "", pattern);
    }
}

static void put_cidr(FILE *out, const struct sp_cidr *cidr)
{
    size_t len = cidr->base.family == 4 ? 4 : 16;

    fputs("within(address, [", out);
    for (size_t i = 0; i < len; i++)
        fprintf(out, "%s%u", i ? ", " : "", cidr->base.bytes[i]);
    fprintf(out, "], %u)", cidr->prefix);
}

static void put_ports(FILE *out, const struct agent_port_range *range)
{
    if (range->first == range->last)
        fprintf(out, "port === %u", range->first);
    else
        fprintf(out, "(port >= %u && port <= %u)", range->first, range->last);
}

/* What stands before the item of that index of a condition; the first condition needs no "&&". */
static void put_between(FILE *out, size_t index, bool *is_first)
{
    if (index)
        fputs(" || ", out);
    else
        fputs(*is_first ? "(" : " && (", out);
    *is_first = false;
}

static void put_condition(FILE *out, const struct agent_route *route)
{
    bool is_first = true;

    for (size_t i = 0; i < route->hosts.count; i++) {
        put_between(out, i, &is_first);
        put_host(out, route->hosts.items[i]);
    }
    fputs(route->hosts.count ? ")" : "", out);
    for (size_t i = 0; i < route->cidr_texts.count; i++) {
        put_between(out, i, &is_first);
        put_cidr(out, &route->cidrs[i]);
    }
    fputs(route->cidr_texts.count ? ")" : "", out);
    for (size_t i = 0; i < route->port_texts.count; i++) {
        put_between(out, i, &is_first);
        put_ports(out, &route->ports[i]);
    }
    fputs(route->port_texts.count ? ")" : "", out);
    fputs(is_first ? "true" : "", out);
}

/* But for the names of the hosts file: the agent judges those. */
static void put_built_in(FILE *out)
{
    fputs("  if (name === \"localhost\" || below(name, \".localhost\")) return \"DIRECT\";\n", out);
    for (size_t i = 0; i < AGENT_NEAR_NETWORKS; i++) {
        fputs("  if (", out);
        put_cidr(out, &agent_near_networks[i].cidr);
        fputs(") return \"DIRECT\";\n", out);
    }
    fputs("  return agent;\n"
          "}\n",
          out);
}

void agent_pac_write(const struct agent_config *config, const char *door, const char *proxy,
                     FILE *out)
{
    fputs(prologue, out);
    fputs("  var agent = ", out);
    put_string(out, "PROXY ", proxy);
    fputs(";\n", out);
    fputs(reading, out);
    for (size_t i = 0; i < config->route_count; i++) {
        const struct agent_route *route = &config->routes[i];
        bool is_direct = route->via == AGENT_VIA_DIRECT && !route->users.count;

        if (!agent_route_has_door(route, door))
            continue;
        fprintf(out, "  // $.routes[%zu]\n  if (", i);
        put_condition(out, route);
        fprintf(out, ") return %s;\n", is_direct ? "\"DIRECT\"" : "agent");
    }
    put_built_in(out);
}
