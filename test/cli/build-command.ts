import { spawnSync } from 'node:child_process'

/** vitest's globalSetup: the command that test/cli runs is that of these sources. A build that fails makes those tests fail. */
export default function buildCommand(): void {
  spawnSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
}
