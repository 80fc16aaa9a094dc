import { copyFileSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { Mutation } from './mutations.ts'

/** Copies of the tree with one line broken each. The tree itself is never touched. */

const COPIED = ['src', 'test', 'scripts', 'package.json']

/** A copy of the tree at `to`: files are links to the originals, to be replaced and not written into. */
export function copyTree(to: string): void {
  mkdirSync(to, { recursive: true })
  for (const name of COPIED) copy(name, join(to, name))
  symlinkSync(resolve('node_modules'), join(to, 'node_modules'))
}

function copy(from: string, to: string): void {
  const entries = from.includes('.') && !from.includes('/') ? null : readdirSync(from, { withFileTypes: true })
  if (entries === null) {
    link(from, to)
    return
  }
  mkdirSync(to, { recursive: true })
  for (const entry of entries) {
    const [a, b] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) copy(a, b)
    else link(a, b)
  }
}

function link(from: string, to: string): void {
  try {
    linkSync(from, to)
  } catch {
    copyFileSync(from, to)
  }
}

/** How often the snippet occurs in the file; a mutation needs exactly 1. -1: there is no such file. */
export function occurrences({ file, find }: Mutation): number {
  try {
    return readFileSync(file, 'utf8').split(find).length - 1
  } catch {
    return -1
  }
}

/** Breaks the line in the copy at `at`: a new file takes the place of the link. */
export function breakLine(at: string, { file, find, replace }: Mutation): void {
  const path = join(at, file)
  const text = readFileSync(path, 'utf8').replace(find, () => replace)
  rmSync(path)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}
