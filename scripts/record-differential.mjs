// Records what this machine's processor does with sets of instructions (test/machine/differential), or compares the engine with it.
//
//   node scripts/record-differential.mjs SET                             writes test/fixtures/differential/SET.jsonl.gz
//   node scripts/record-differential.mjs SET --compare                   prints differences, writes nothing
//     --first-seed=N         other cases than the recorded ones
//     --strict-flags[=MASK]  compares undefined flags too, but those in MASK
//     --optimized            V8's optimizing compiler only (what hot code gets)
//     --engine=JSON          EngineOptions, e.g. --engine='{"softwareTlb":false}'
//
// Needs x86-64 Linux and gcc.
import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const here = join(root, 'test/machine/differential')
const outfile = join(mkdtempSync(join(tmpdir(), 'differential-')), 'record.mjs')
const asUrl = (path) => JSON.stringify(`file://${path}`)
await build({
  entryPoints: [join(here, 'record.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  packages: 'external',
  plugins: [
    {
      // Files are found relative to the source, wherever the bundle lies.
      name: 'source-url',
      setup(b) {
        b.onLoad({ filter: /\/(test|src)\/.*\.ts$/ }, async ({ path }) => {
          const { readFile } = await import('node:fs/promises')
          const contents = (await readFile(path, 'utf8')).replaceAll('import.meta.url', asUrl(path))
          return { contents, loader: 'ts' }
        })
      },
    },
  ],
})
const { status } = spawnSync(process.execPath, [outfile, process.argv[2] ?? '', here, ...process.argv.slice(3)], {
  stdio: 'inherit',
})
process.exit(status ?? 1)
