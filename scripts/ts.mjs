// Runs one of the project's TypeScript programs on Node 20, which cannot read TypeScript itself:
//   node scripts/ts.mjs scripts/floors.ts ARGS…
// The program runs in the repository's root; what the user typed as a path counts from INIT_CWD, where npm was started.
import { basename, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
process.env.INIT_CWD ??= process.cwd()
process.chdir(root)
const [program, ...args] = process.argv.slice(2)
// One file per process: two runs at the same time must not write over each other's.
const outfile = join(root, '.cache/scripts', `${basename(program, '.ts')}.${process.pid}.mjs`)
await build({
  entryPoints: [program],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  logLevel: 'error',
  sourcemap: 'inline',
})
process.setSourceMapsEnabled(true)
process.argv = [process.argv[0], join(root, program), ...args]
try {
  await import(pathToFileURL(outfile).href)
} finally {
  const { rmSync } = await import('node:fs')
  rmSync(outfile, { force: true })
}
