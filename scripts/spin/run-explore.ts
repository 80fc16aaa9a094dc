import { spawn } from 'node:child_process'
import { parseResult, type ShardResult } from '../../src/tools/explore/results.ts'
import { CannotCheck } from './model-check.ts'

/** `worldswitch explore` of the same scenario, in a process of its own as a user would run it. */
export function runExplore(scenario: string, variant: string | null, bound: number): Promise<ShardResult> {
  const args = ['dist/cli/worldswitch.js', 'explore', scenario, '--json', '--bound', `${bound}`]
  if (variant !== null) args.push('--variant', variant)
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (part) => (text += part))
    // How it goes, or why it does not.
    child.stderr.setEncoding('utf8').on('data', (part) => (said = part))
    child.on('error', reject)
    child.on('close', () => {
      try {
        resolve(parseResult(text, `explore ${scenario} ${variant ?? ''}`))
      } catch {
        reject(new CannotCheck(`explore: ${said.trim()}`))
      }
    })
  })
}
