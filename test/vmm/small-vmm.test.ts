import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { readGuestFile } from '../../src/vmm/small-vmm/guest-file.ts'
import { SmallVmm, type SmallVmmWatcher } from '../../src/vmm/small-vmm/small-vmm.ts'
import { testHost } from './hosts.ts'

const MEMORY = 4 << 20
const amxMigrate = readFileSync(new URL('../../examples/amx-migrate/amx-migrate.elf', import.meta.url))
const guest = readGuestFile(amxMigrate, 'amx-migrate.elf', MEMORY)

class Recorder implements SmallVmmWatcher {
  text = ''
  readonly events: string[] = []
  console(byte: number): void {
    this.text += String.fromCharCode(byte)
  }
  event(name: string): void {
    this.events.push(name)
  }
}

describe('examples/amx-migrate', () => {
  it('goes on on Granite Rapids in the middle of its AMX work', () => {
    const seen = new Recorder()
    const first = SmallVmm.boot(testHost().newProcess(), guest, MEMORY, seen)
    const outcome = first.run()
    console.log(seen.text, outcome)
    expect(outcome.kind).toBe('checkpoint')
    const state = first.save()
    const second = SmallVmm.restore(testHost({ cpu: 'GraniteRapids' }).newProcess(), state, seen)
    const end = second.run()
    console.log(seen.text, end)
    expect(end).toEqual({ kind: 'exited', status: 0 })
  })
})
