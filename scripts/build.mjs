// Bundles the command and the library into dist/. Does nothing when dist/ is newer than everything it is made from.
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(root, 'dist')
const marker = join(dist, '.built')

/** Newest change below `path`, folders included: a file taken away changes its folder. */
function newestChange(path) {
  const info = statSync(path)
  if (!info.isDirectory()) return info.mtimeMs
  return readdirSync(path).reduce((newest, name) => Math.max(newest, newestChange(join(path, name))), info.mtimeMs)
}

function isUpToDate() {
  if (!existsSync(marker)) return false
  const built = statSync(marker).mtimeMs
  return ['src', 'scripts/build.mjs', 'package-lock.json'].every((path) => newestChange(join(root, path)) < built)
}

/** What can be shared by both bundles: readable output, no minifying, so that a stack trace names the function. */
const common = { bundle: true, format: 'esm', target: 'es2022', logLevel: 'warning', legalComments: 'none', absWorkingDir: root }

/** Everything in one file, because resolving and reading a hundred modules is most of the start-up time of a command. */
const command = {
  ...common,
  entryPoints: ['src/cli/worldswitch.ts'],
  outfile: 'dist/cli/worldswitch.js',
  platform: 'node',
  target: 'node20',
  // The entry point's own #! line stays first. commander is CommonJS inside; an ES module has no `require` of its own for it to ask for node:events.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'\nconst require = __createRequire(import.meta.url)",
  },
}

/** `platform: neutral` makes an import of a Node module an error: this bundle has to run in a browser too. */
const library = {
  ...common,
  entryPoints: ['src/index.ts'],
  outfile: 'dist/index.js',
  platform: 'neutral',
  mainFields: ['module', 'main'],
}

async function main() {
  if (!process.argv.includes('--force') && isUpToDate()) return
  const started = Date.now()
  const { build } = await import('esbuild')
  rmSync(marker, { force: true })
  const bundles = [command, library].filter((bundle) => existsSync(join(root, bundle.entryPoints[0])))
  const results = await Promise.allSettled(bundles.map((bundle) => build(bundle)))
  // esbuild has printed what is wrong, and where.
  if (results.some(({ status }) => status === 'rejected')) process.exit(1)
  // The decoder is handed iced's compiled .wasm by whoever starts a machine; it lies beside each bundle.
  const wasm = createRequire(import.meta.url).resolve('iced-x86/iced_x86_bg.wasm')
  for (const folder of [dist, join(dist, 'cli')]) {
    mkdirSync(folder, { recursive: true })
    copyFileSync(wasm, join(folder, 'iced_x86_bg.wasm'))
  }
  writeFileSync(marker, '')
  const names = bundles.map((bundle) => bundle.outfile).join(', ')
  process.stderr.write(`built ${names || 'nothing: no entry point exists yet'} in ${Date.now() - started} ms\n`)
}

await main()
