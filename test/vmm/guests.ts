import { readFileSync } from 'node:fs'
import { type GuestFile, readGuestFile } from '../../src/vmm/small-vmm/guest-file.ts'
import type { SmallVmmWatcher } from '../../src/vmm/small-vmm/small-vmm.ts'
import { BASE, type ElfFile, elf } from '../cli/elf.ts'

/** Memory of the guests of these tests. */
export const MEMORY = 8 << 20

const path = new URL('../../examples/amx-migrate/amx-migrate.elf', import.meta.url)
export const amxMigrate: GuestFile = readGuestFile(readFileSync(path), 'amx-migrate.elf', MEMORY)

/** A guest file that starts with `code` at 0x400000. */
export function guestBytes(code: readonly number[], changes: Partial<ElfFile> = {}): Uint8Array {
  return elf({ code: [...code], e_entry: BASE, ...changes })
}
export function guest(code: readonly number[]): GuestFile {
  return readGuestFile(guestBytes(code), 'guest', MEMORY)
}

/** Keeps what a guest prints and what its VMM tells. */
export class Recorder implements SmallVmmWatcher {
  text = ''
  readonly events: { name: string; values: Record<string, number | string> }[] = []

  console(byte: number): void {
    this.text += String.fromCharCode(byte)
  }
  event(name: string, values: Record<string, number | string>): void {
    this.events.push({ name, values })
  }
}
