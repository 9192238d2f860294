// Evaluates a proxy auto-config file as a browser does: node pac.js FILE, questions on standard
// input, one JSON [url, host] a line; one JSON answer a line. The functions are those that every
// browser gives such a file (the Netscape specification of 1996); those that would resolve a name
// throw, since a name that is resolved here is one that the far side should have resolved.
'use strict';
const fs = require('fs');
const readline = require('readline');
const vm = require('vm');

function resolves(name) {
  return () => { throw new Error(name + ' resolves names'); };
}

const world = {
  isPlainHostName: (host) => host.indexOf('.') < 0,
  dnsDomainIs: (host, domain) => host.length >= domain.length && host.endsWith(domain),
  localHostOrDomainIs: (host, full) => host === full || full.startsWith(host + '.'),
  dnsDomainLevels: (host) => host.split('.').length - 1,
  shExpMatch: (text, pattern) => new RegExp('^' + pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*').replace(/\?/g, '.') + '$').test(text),
  isResolvable: resolves('isResolvable'),
  dnsResolve: resolves('dnsResolve'),
  isInNet: resolves('isInNet'),
  myIpAddress: resolves('myIpAddress'),
  weekdayRange: () => false,
  dateRange: () => false,
  timeRange: () => false,
  alert: () => undefined,
};
vm.createContext(world);
vm.runInContext(fs.readFileSync(process.argv[2], 'utf8'), world, { timeout: 5000 });

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  world.question = JSON.parse(line);
  const answer = vm.runInContext('FindProxyForURL(question[0], question[1])', world,
    { timeout: 5000 });
  process.stdout.write(JSON.stringify(answer) + '\n');
});
