import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { registerDecoder } from '../../src/index.ts'
import { icedModule } from '../machine/bare-host.ts'

const cache = new URL('../../.cache/docs-examples/', import.meta.url)
const page = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8')
const examples = [...page.matchAll(/^## ([^\n]+)\n(?:(?!^## )[^`]|`(?!``))*?```ts\n(.*?)```/gms)].map(([, title, code]) => [
  title,
  code,
])

beforeAll(() => {
  mkdirSync(cache, { recursive: true })
  registerDecoder(icedModule())
})
afterAll(() => rmSync(cache, { recursive: true, force: true }))

describe('the examples of docs/api.md', () => {
  it('are there', () => expect(examples.length).toBe(3))

  it.each(examples)('%s: prints what its comments say', async (title, code) => {
    const promised = [...code.matchAll(/console\.log\(.*\) \/\/ (.*)/g)].map((match) => match[1])
    expect(promised.length).toBeGreaterThan(0)
    const program = new URL(`${title.replaceAll(' ', '-')}.ts`, cache)
    writeFileSync(program, code.replace("'worldswitch'", "'../../src/index.ts'"))
    const printed: unknown[] = []
    const log = vi.spyOn(console, 'log').mockImplementation((...args) => printed.push(args.join(' ')))
    try {
      await import(program.href)
    } finally {
      log.mockRestore()
    }
    expect(printed).toEqual(promised)
  })
})
