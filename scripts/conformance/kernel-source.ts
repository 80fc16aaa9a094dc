import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CannotPrepare, command } from './command.ts'

const PACKAGE = 'linux-source-6.12'

/** What of the kernel's tree the headers and the two suites of tests are built from; 90 MB of 1.5 GB. */
const NEEDED = [
  'Makefile',
  'scripts',
  'include',
  'arch/x86',
  'usr',
  'tools/include',
  'tools/arch',
  'tools/lib',
  'tools/build',
  'tools/scripts',
  ...['kvm', 'x86', 'rseq', 'kselftest', 'lib.mk', 'kselftest.h', 'kselftest_harness.h'].map(
    (name) => `tools/testing/selftests/${name}`,
  ),
]

export interface KernelSource {
  tree: string
  /** As the tree's Makefile says: 6.12.y. */
  version: string
}

/**
 * Debian's kernel source below `cache`, unpacked as far as the tests need it; fetched when it is not there yet. Needs no
 * root: apt and dpkg-deb work in folders of ours.
 */
export function kernelSource(cache: string, say: (line: string) => void): KernelSource {
  const tree = join(cache, PACKAGE)
  if (!existsSync(tree)) {
    const download = join(cache, 'download')
    rmSync(download, { recursive: true, force: true })
    mkdirSync(download, { recursive: true })
    say(`getting Debian's ${PACKAGE} (about 150 MB)`)
    const deb = downloadPackage(download, join(cache, 'apt'))
    say(`unpacking ${deb}`)
    command('dpkg-deb', ['-x', deb, 'package'], { cwd: download })
    const archive = join('package/usr/src', `${PACKAGE}.tar.xz`)
    command('tar', ['-xJf', archive, ...NEEDED.map((path) => `${PACKAGE}/${path}`)], { cwd: download })
    renameSync(join(download, PACKAGE), tree)
    for (const folder of ['download', 'apt']) rmSync(join(cache, folder), { recursive: true })
  }
  return { tree, version: treeVersion(tree) }
}

/** Fetches the package into `folder` and returns its file name. Package lists come from the system, or else from a folder of ours. */
function downloadPackage(folder: string, apt: string): string {
  mkdirSync(join(apt, 'cache/archives/partial'), { recursive: true })
  const caches = ['-o', `Dir::Cache=${join(apt, 'cache')}`]
  const ownLists = ['-o', `Dir::State=${join(apt, 'state')}`, '-o', 'Dir::State::status=/var/lib/dpkg/status']
  const download = (options: string[]) => command('apt-get', [...options, 'download', PACKAGE], { cwd: folder })
  try {
    download(caches)
  } catch (error) {
    if (!(error instanceof CannotPrepare) || error.message.includes('not installed')) throw error
    mkdirSync(join(apt, 'state/lists/partial'), { recursive: true })
    command('apt-get', [...caches, ...ownLists, 'update'])
    download([...caches, ...ownLists])
  }
  const deb = readdirSync(folder).find((name) => name.endsWith('.deb'))
  if (!deb) throw new CannotPrepare(`apt-get download ${PACKAGE} left no package`)
  return deb
}

function treeVersion(tree: string): string {
  const makefile = readFileSync(join(tree, 'Makefile'), 'utf8')
  return ['VERSION', 'PATCHLEVEL', 'SUBLEVEL'].map((name) => makefile.match(new RegExp(`^${name} = (\\d+)`, 'm'))?.[1]).join('.')
}
