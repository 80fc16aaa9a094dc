import type { Decoded } from '../decoder/decoder.ts'
import { MNEMONIC_NAMES } from '../decoder/iced-tables.ts'
import type { InstructionSite } from './instruction.ts'

/** Writes the WebAssembly of one instruction. All its faults come before its first architectural write. */
export type Definition = (site: InstructionSite) => void

const numbers = new Map<string, number>()
for (let i = 0; i < MNEMONIC_NAMES.length; i++) numbers.set(MNEMONIC_NAMES[i].toUpperCase(), i)

/** Definitions by iced mnemonic number. */
export const definitions: (Definition | undefined)[] = new Array(MNEMONIC_NAMES.length)

/**
 * Defines what an instruction does; `mnemonic` is the SDM's, in capitals (as iced lists it). Where iced gives one mnemonic
 * to several instructions (MOVSD, CMPSD, MOV), `applies` picks the forms of this definition; one without it takes the rest.
 */
export function define(mnemonic: string, definition: Definition, applies?: (d: Decoded) => boolean): void {
  const number = numbers.get(mnemonic)
  if (number === undefined) throw new Error(`no instruction is called ${mnemonic}`)
  if (applies === undefined) {
    if (general.has(number)) throw new Error(`${mnemonic} is defined twice`)
    general.set(number, definition)
  } else {
    const forms = special.get(number)
    if (forms === undefined) special.set(number, [{ applies, definition }])
    else forms.push({ applies, definition })
  }
  definitions[number] = special.has(number) ? dispatch(number) : definition
}

const general = new Map<number, Definition>()
const special = new Map<number, { applies: (d: Decoded) => boolean; definition: Definition }[]>()

const dispatch =
  (number: number): Definition =>
  (site) => {
    const form = special.get(number)!.find(({ applies }) => applies(site.d))
    const definition = form?.definition ?? general.get(number)
    if (definition === undefined) site.raiseUndefined()
    else definition(site)
  }
