-- JSON as it was written: where a value ends, and what an object's members are. Nothing is taken apart that is only kept, so a
-- payload stays the bytes that came.

-- Levels of an envelope, of which one is its own.
local DEEPEST = 65
local QUOTE, BACKSLASH, OBJECT, LIST, OBJECT_END, LIST_END, COMMA, COLON, POINT = byte('"\\{[}],:.', 1, 9)
local WORDS = { [byte('t')] = 'true', [byte('f')] = 'false', [byte('n')] = 'null' }

-- What is wrong with an envelope: RFC 6901 pointer, code and sentence, as every door gives them.
local function fault(pointer, code, message)
  error({ pointer = pointer, code = code, message = message }, 0)
end
W.fault = fault

local function not_json(what, at)
  fault('', 'not_json', string.format('not valid JSON: %s at byte %d', what, at))
end

-- The place of what comes next.
local function next_place(text, at)
  local c = byte(text, at)
  return c and c > 32 and at or match(text, '^[ \t\r\n]*()', at)
end

-- The place behind the character that begins at `at`, in UTF-8 as RFC 3629 has it.
local function character_end(text, at)
  return match(text, '^[\194-\223][\128-\191]()', at) or match(text, '^\224[\160-\191][\128-\191]()', at)
    or match(text, '^[\225-\236\238\239][\128-\191][\128-\191]()', at) or match(text, '^\237[\128-\159][\128-\191]()', at)
    or match(text, '^\240[\144-\191][\128-\191][\128-\191]()', at) or match(text, '^[\241-\243][\128-\191][\128-\191][\128-\191]()', at)
    or match(text, '^\244[\128-\143][\128-\191][\128-\191]()', at)
    or fault('', 'not_json', string.format('the envelope is not UTF-8 (byte %d); send JSON in UTF-8', at - 1))
end

-- The place behind the string that begins at `at`.
local function string_end(text, at)
  local stop = match(text, '^"[^"\\%z\1-\31\128-\255]*"()', at)
  local from = at
  at = at + 1
  while not stop do
    -- It has escapes, or other characters than ASCII's, or no end.
    at = find(text, '["\\%z\1-\31\128-\255]', at)
    local c = at and byte(text, at)
    if not c then
      not_json('a string without an end', from)
    elseif c == QUOTE then
      stop = at + 1
    elseif c > 127 then
      at = character_end(text, at)
    elseif c ~= BACKSLASH then
      not_json('a control character in a string', at)
    elseif find(text, '^["\\/bfnrt]', at + 1) then
      at = at + 2
    else
      at = find(text, '^u%x%x%x%x', at + 1) and at + 6 or not_json('an unknown escape', at)
    end
  end
  return stop
end

local function number_end(text, at)
  local stop = match(text, '^-?[1-9]%d*()', at) or match(text, '^-?0()', at) or not_json('no value', at)
  local c = byte(text, stop)
  if c == POINT then
    stop = match(text, '^%.%d+()', stop) or not_json('no number', at)
    c = byte(text, stop)
  end
  if c == 69 or c == 101 then
    stop = match(text, '^[eE][+-]?%d+()', stop) or not_json('no number', at)
  end
  return stop
end

local container_end

-- The place behind the value that begins at `at`, inside `depth` others.
local function value_end(text, at, depth)
  local c = byte(text, at)
  if c == QUOTE then
    return string_end(text, at)
  elseif c == OBJECT or c == LIST then
    return container_end(text, at, depth + 1, c == OBJECT)
  end
  local word = WORDS[c]
  if word then
    return sub(text, at, at + #word - 1) == word and at + #word or not_json('no value', at)
  end
  return number_end(text, at)
end
W.value_end = value_end

-- The places behind the name that begins at `at`, and of its value.
local function name_end(text, at)
  local stop, value = match(text, '^"[^"\\%z\1-\31\128-\255]*"()[ \t\r\n]*:[ \t\r\n]*()', at)
  if not stop then
    stop = byte(text, at) == QUOTE and string_end(text, at) or not_json('no name of a member', at)
    value = match(text, '^[ \t\r\n]*:[ \t\r\n]*()', stop) or not_json('no colon', stop)
  end
  return stop, value
end

-- `found`, if given, gets four places of every member or item: of its name and of what is behind that (nothing in a list), of its
-- value and of what is behind that.
function container_end(text, at, depth, is_object, found)
  if depth > DEEPEST then
    fault('', 'too_large', 'nested deeper than 64 levels; flatten it')
  end
  local closing = is_object and OBJECT_END or LIST_END
  at = next_place(text, at + 1)
  if byte(text, at) == closing then
    return at + 1
  end
  while true do
    local name, name_stop = at, at
    if is_object then
      name_stop, at = name_end(text, at)
    end
    local stop = value_end(text, at, depth)
    if found then
      local n = #found
      found[n + 1], found[n + 2], found[n + 3], found[n + 4] = name, name_stop, at, stop
    end
    at = next_place(text, stop)
    local c = byte(text, at)
    if c == closing then
      return at + 1
    elseif c ~= COMMA then
      not_json('no comma', at)
    end
    at = next_place(text, at + 1)
  end
end

-- A string without its quotes and escapes. `at`: the pointer to it.
local function unquoted(raw, at)
  if not find(raw, '\\', 1, true) then
    return sub(raw, 2, -2)
  end
  local ok, list = pcall(cjson.decode, '[' .. raw .. ']')
  if not ok then
    fault(at, 'not_json', 'not valid JSON: half a surrogate pair')
  end
  return list[1]
end

-- The text of a string, or nothing of any other value.
function W.text_of(raw, at)
  if byte(raw, 1) == QUOTE then
    return unquoted(raw, at)
  end
end

-- The members of the object that begins at `from`, as they come: of each its name, its value as written, the place of that and of what is
-- behind it; and the place behind the object. Nothing when it is none.
function W.members(text, at, from)
  if byte(text, from) ~= OBJECT then
    return nil
  end
  local found = {}
  local stop = container_end(text, from, 1, true, found)
  for i = 1, #found, 4 do
    found[i], found[i + 1] = unquoted(sub(text, found[i], found[i + 1] - 1), at), sub(text, found[i + 2], found[i + 3] - 1)
  end
  return found, stop
end

-- The items of a list, as they are written. Nothing when it is none.
function W.items(raw)
  if byte(raw, 1) ~= LIST then
    return nil
  end
  local found, items = {}, {}
  container_end(raw, 1, 1, false, found)
  for i = 3, #found, 4 do
    items[#items + 1] = sub(raw, found[i], found[i + 1] - 1)
  end
  return items
end

-- The place of the one value that `text` is.
function W.begin_value(text)
  return next_place(text, 1)
end

-- Nothing but space is behind the value.
function W.end_value(text, stop)
  local rest = next_place(text, stop)
  if rest <= #text then
    not_json('something behind the value', rest)
  end
end

-- What Redis brings along takes apart six times as fast what is to be kept whole. Its own copy, so that other scripts keep their settings.
local strict = cjson.new()
strict.decode_invalid_numbers(false)
strict.decode_max_depth(60)

-- Whether there is nothing in it that this takes and JSON does not know: control characters, what is not UTF-8, numbers such as `1.` and `-.5`.
local function is_plain(text)
  if not find(text, '^[!-~][ -~\128-\255]*$') or byte(text, -1) == 32 then
    return false
  end
  local at = match(text, '^[ -~]*()')
  while at <= #text do
    at = match(text, '^[ -~]*()', character_end(text, at))
  end
  at = find(text, '.', 1, true)
  while at do
    if find(text, '^[%d-]%.%D', at - 1) or find(text, '^-', at - 1) then
      return false
    end
    at = find(text, '.', at + 1, true)
  end
  return byte(text, -1) ~= POINT
end

-- Whether `value` is one value, and nothing else.
function W.is_one_value(value)
  local ok, is = pcall(is_plain, value)
  if ok and is and pcall(strict.decode, value) then
    return true
  end
  ok, is = pcall(value_end, value, 1, 1)
  return ok and is == #value + 1
end
